//! How fast a source is polled: not faster than shards take what it brings. A source that is polled faster only brings
//! its records in smaller pieces, each of which costs a frame and a turn of every node; then they pile up.

use std::time::Duration;

use super::tally::TallyReader;

/// While shards are behind, how often it is looked whether they still are.
pub(super) const LOOK: Duration = Duration::from_micros(250);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Deliveries sent to each shard so far.
    sent: Vec<u64>,
    /// Those that were sent until the last poll came back; the shards work on what came after.
    due: Vec<u64>,
    polled: Duration,
}

impl Pace {
    pub(super) fn new(shards: usize) -> Self {
        Self { sent: vec![0; shards], due: vec![0; shards], polled: Duration::ZERO }
    }

    pub(super) fn sent(&mut self, shard: usize) {
        self.sent[shard] += 1;
    }

    /// A poll has come back: what it brings may wait behind what was sent before, and no more.
    pub(super) fn polled(&mut self, now: Duration) {
        self.due.copy_from_slice(&self.sent);
        self.polled = now;
    }

    /// Whether records should gather at the source, for so long at most.
    pub(super) fn is_behind(&self, tallies: &TallyReader, now: Duration, most: Duration) -> bool {
        now < self.polled + most && self.due.iter().enumerate().any(|(shard, due)| tallies.taken(shard) < *due)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tally::Tally;
    use super::*;

    #[test]
    fn one_poll_may_wait_behind_the_one_before_and_not_for_ever() {
        let tally = Arc::new(Tally::default());
        let tallies = TallyReader::new(vec![tally.clone()]);
        let (most, now) = (Duration::from_millis(5), Duration::from_secs(1));
        let mut pace = Pace::new(1);
        pace.polled(now);
        pace.sent(0);
        assert!(!pace.is_behind(&tallies, now, most));
        pace.polled(now);
        pace.sent(0);
        assert!(pace.is_behind(&tallies, now, most));
        assert!(!pace.is_behind(&tallies, now + most, most));
        tally.taken_one();
        assert!(!pace.is_behind(&tallies, now, most));
    }
}
