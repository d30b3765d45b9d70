//! Feeds a case to the engine: a source that hands over the log in the case's micro-batches, and waits where a plan is
//! deployed or the engine is stopped until it is told to go on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill::traits::source::{Axes, PollLimits, Polled};
use gristmill::traits::{Batch, Records, Source, SourceError};
use gristmill::words::Offset;

use super::case::{Case, Happening};

/// The test's side of the feed.
#[derive(Clone, Debug)]
pub struct Feed(Arc<(Mutex<State>, Condvar)>);

/// The engine's side of the feed.
#[derive(Debug)]
pub struct FeedSource {
    feed: Feed,
    axes: Axes,
    /// Where each partition goes on that was read before.
    began: BTreeMap<u32, Offset>,
}

#[derive(Debug)]
struct State {
    /// Micro-batches between two deployments or stops.
    legs: VecDeque<VecDeque<Batch>>,
    /// How many legs may be handed over.
    allowed: usize,
    handed_legs: usize,
    /// After the last record of each partition that was handed over.
    handed: BTreeMap<u32, Offset>,
    committed: BTreeMap<u32, Offset>,
    /// Commits that went back, or further than what was handed over.
    wrong: Vec<String>,
}

/// How long to wait for the engine before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The micro-batches before, between and after the deployments and stops of a case.
pub fn legs(case: &Case) -> VecDeque<VecDeque<Batch>> {
    let mut legs = VecDeque::from([VecDeque::<Batch>::new()]);
    let breaks = case.breaks();
    for (number, entry) in case.log.iter().enumerate() {
        let broken = breaks.iter().filter(|(before, _)| *before == number).count();
        (0..broken).for_each(|_| legs.push_back(VecDeque::new()));
        let leg = legs.back_mut().expect("there is at least one");
        let goes_on = !case.engine.cuts.contains(&number);
        match (&entry.what, leg.back_mut()) {
            (Happening::Record(record), Some(Batch { partition, records: Records::Rows(rows), .. }))
                if goes_on && *partition == entry.partition =>
            {
                rows.push(record.clone());
            }
            (Happening::Record(record), _) => {
                leg.push_back(Batch::new(entry.partition, Records::Rows(vec![record.clone()])));
            }
            (Happening::Tick(time), _) => {
                leg.push_back(Batch::new(entry.partition, Records::Tick(*time)));
            }
        }
    }
    legs
}

impl Feed {
    /// Both sides of a feed that hands over what comes before the first deployment.
    pub fn new(case: &Case) -> (Self, FeedSource) {
        let (handed, committed) = (BTreeMap::new(), BTreeMap::new());
        let state = State { legs: legs(case), allowed: 1, handed_legs: 0, handed, committed, wrong: Vec::new() };
        let feed = Self(Arc::new((Mutex::new(state), Condvar::new())));
        (feed.clone(), feed.source(case))
    }

    /// A source for another run, which goes on where the one before ended.
    pub fn source(&self, case: &Case) -> FeedSource {
        let axes = Axes::Declared(case.axes.iter().map(|axis| axis.streams.clone()).collect());
        FeedSource { feed: self.clone(), axes, began: self.state().handed.clone() }
    }

    /// Lets the source go on to the next deployment, or to the end.
    pub fn go_on(&self) {
        self.state().allowed += 1;
        self.0.1.notify_all();
    }

    /// Waits until the engine has taken all that it may.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_until_taken(&self) {
        self.wait("taken", |state| state.handed_legs >= state.allowed);
    }

    /// Waits until the engine has committed all that it may take.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_until_committed(&self) {
        self.wait("committed", |state| {
            let committed = |(partition, next): (&u32, &Offset)| state.committed.get(partition) >= Some(next);
            state.handed_legs >= state.allowed && state.handed.iter().all(committed)
        });
    }

    /// Looks at the commits of an engine that has ended in order: everything is committed, and nothing too much before.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn check_commits(&self, seed: u64) {
        let state = self.state();
        assert!(state.wrong.is_empty(), "seed {seed}: {}", state.wrong.join("\n"));
        assert_eq!(state.committed, state.handed, "seed {seed}: committed, and handed over");
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let waited = self.0.1.wait_timeout_while(self.state(), PATIENCE, |state| !done(state));
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "not all was {what}: handed over {:?}, committed {:?}",
            state.handed,
            state.committed
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for FeedSource {
    fn axes(&self) -> Axes {
        self.axes.clone()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let nothing = |state: &mut State| state.handed_legs >= state.allowed && !state.legs.is_empty();
        let waited = self.feed.0.1.wait_timeout_while(self.feed.state(), limits.wait, nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let polled = state.next(limits.records);
        self.feed.0.1.notify_all();
        Ok(polled)
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        self.began.get(&partition).copied()
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.feed.state().commit(partition, next);
        self.feed.0.1.notify_all();
        Ok(())
    }
}

impl State {
    fn commit(&mut self, partition: u32, next: Offset) {
        let (before, handed) = (self.committed.insert(partition, next), self.handed.get(&partition).copied());
        let is_back = before.is_some_and(|before| next < before);
        if is_back || handed.is_none_or(|handed| next > handed) {
            self.wrong.push(format!(
                "partition {partition}: {next:?} is committed after {before:?}, and {handed:?} was handed over"
            ));
        }
    }

    /// The next micro-batch, or the first part of it when it has more than `most` records.
    fn next(&mut self, most: usize) -> Polled {
        if self.handed_legs >= self.allowed && !self.legs.is_empty() {
            return Polled::Batches(Vec::new());
        }
        let Some(leg) = self.legs.front_mut() else { return Polled::End };
        let Some(mut batch) = leg.pop_front() else {
            self.legs.pop_front();
            self.handed_legs += 1;
            return Polled::Batches(Vec::new());
        };
        if let Records::Rows(rows) = &mut batch.records {
            if rows.len() > most.max(1) {
                let rest = Records::Rows(rows.split_off(most.max(1)));
                leg.push_front(Batch::new(batch.partition, rest));
            }
            if let Some(last) = rows.last() {
                self.handed.insert(batch.partition, Offset(last.offset.0 + 1));
            }
        }
        Polled::Batches(vec![batch])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::generate;

    #[test]
    fn a_feed_hands_over_the_whole_log_in_order_and_stops_at_deployments() {
        let case = (1..).map(generate::case).find(|case| case.plans.len() > 2).expect("some case has changes");
        let (feed, mut source) = Feed::new(&case);
        let limits = PollLimits { records: 3, bytes: 1 << 20, wait: Duration::from_millis(1) };
        let breaks: Vec<usize> = case.breaks().into_iter().map(|(before, _)| before).collect();
        let (mut entries, mut stops) = (0, Vec::new());
        loop {
            match source.poll(limits).expect("a feed does not fail") {
                Polled::End => break,
                Polled::Batches(batches) if batches.is_empty() => {
                    let state = feed.state();
                    let waits = state.handed_legs >= state.allowed;
                    drop(state);
                    if waits && stops.len() < breaks.len() {
                        stops.push(entries);
                        feed.go_on();
                    }
                }
                Polled::Batches(batches) => {
                    for batch in batches {
                        entries += match &batch.records {
                            Records::Rows(rows) => rows.len(),
                            Records::Raw(_) | Records::Tick(_) => 1,
                        };
                    }
                }
            }
        }
        assert_eq!(entries, case.log.len());
        assert_eq!(stops, breaks);
    }

    #[test]
    fn a_commit_that_goes_back_or_too_far_is_found() {
        let case = generate::case(1);
        let found = |commits: &[i64]| {
            let (feed, mut source) = Feed::new(&case);
            feed.state().handed.insert(0, Offset(5));
            commits.iter().for_each(|next| source.commit(0, Offset(*next)).expect("a feed does not fail"));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed.check_commits(1))).is_err()
        };
        assert!(!found(&[3, 3, 5]));
        for wrong in [&[5, 3, 5][..], &[6, 5], &[3], &[]] {
            assert!(found(wrong), "{wrong:?}");
        }
    }
}
