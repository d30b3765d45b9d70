//! What a group's committed positions prove: where a partition without one begins, and where one is missing.
//!
//! Beside each position stands a mark: how many of the topic's partitions are known to have had a position, and which
//! topic of that name it is of. A partition below that number had one, so that it must have one; a partition at or above
//! it was added since (numbers only rise), or its group has only just begun.

use std::collections::HashMap;
use std::fmt;

/// The word that a mark begins with; another text beside a position is somebody else's.
const WORD: &str = "gristmill/1";

/// What stands beside a committed position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// So many partitions of the topic, from 0 on, have had a position.
    pub(super) whole: i32,
    /// The topic's id, as the client learnt it.
    pub(super) topic: Option<String>,
}

impl Mark {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() != Some(WORD) {
            return None;
        }
        let mut mark = Self::default();
        for word in words {
            match word.split_once('=')? {
                ("whole", count) => mark.whole = count.parse().ok()?,
                ("topic", id) => mark.topic = Some(id.to_owned()),
                // A later version says more.
                _ => {}
            }
        }
        Some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD} whole={}", self.whole)?;
        self.topic.as_ref().map_or(Ok(()), |id| write!(f, " topic={id}"))
    }
}

/// What is known of a topic in a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// How many partitions the topic has.
    count: i32,
    /// The positions, with what stands beside them.
    positions: HashMap<i32, (i64, Option<Mark>)>,
    /// The topic's id.
    id: Option<String>,
    whole: i32,
    /// How many partitions there were when this process looked before.
    seen: i32,
}

/// Why a partition has no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// The group is new to the topic.
    NewGroup,
    /// The partition is newer than what the group has been told of.
    NewPartition,
    /// There was one.
    Lost,
}

impl Known {
    /// A topic of so many partitions; `positions` as the group has them.
    pub(super) fn new(count: i32, positions: impl IntoIterator<Item = (i32, i64, Option<Mark>)>) -> Self {
        let positions = positions.into_iter().map(|(number, position, mark)| (number, (position, mark))).collect();
        let mut known = Self { count, positions, id: None, whole: 0, seen: 0 };
        let marks = || known.positions.values().filter_map(|(_, mark)| mark.as_ref());
        // Positions that no version of ours has marked: those of a tool, which sets all, or of before there were marks.
        let unmarked = known.positions.keys().max().map_or(0, |highest| highest + 1);
        known.whole =
            if marks().next().is_some() { marks().map(|mark| mark.whole).max().unwrap_or(0) } else { unmarked };
        known.grow();
        known
    }

    /// A position was committed; whether more is known by it.
    pub(super) fn committed(&mut self, partition: i32, position: i64) -> bool {
        let mark = self.mark();
        self.positions.insert(partition, (position, Some(mark)));
        self.grow()
    }

    /// These partitions are about to get their first position, in one request: so the mark may say it already.
    pub(super) fn begin(&mut self, partitions: &[i32]) {
        let has = |number| self.positions.contains_key(&number) || partitions.contains(&number);
        if (0..self.count).all(has) {
            self.whole = self.whole.max(self.count);
        }
    }

    /// What this process knew of the topic before stays true.
    pub(super) fn after(&mut self, before: &Self) {
        self.whole = self.whole.max(before.whole);
        self.seen = before.count;
    }

    fn grow(&mut self) -> bool {
        let all = (0..self.count).all(|number| self.positions.contains_key(&number));
        let more = all && self.count > self.whole;
        if more {
            self.whole = self.count;
        }
        more
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn position(&self, partition: i32) -> Option<i64> {
        self.positions.get(&partition).map(|(position, _)| *position)
    }

    /// Whether less stands beside a partition's position than is known.
    pub(super) fn is_stale(&self, partition: i32) -> bool {
        let said = self.positions.get(&partition).map(|(_, mark)| mark.as_ref().map_or(0, |mark| mark.whole));
        said.is_some_and(|said| said < self.whole)
    }

    /// Why a partition has no position.
    pub(super) fn absent(&self, partition: i32) -> Absent {
        match partition {
            _ if partition < self.whole => Absent::Lost,
            _ if self.whole > 0 || (1..=partition).contains(&self.seen) => Absent::NewPartition,
            _ => Absent::NewGroup,
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { whole: self.whole, topic: self.id.clone() }
    }

    /// The client has learnt which topic of that name it reads. The partition of a position that is of another one.
    pub(super) fn identify(&mut self, id: &str) -> Option<i32> {
        self.id = Some(id.to_owned());
        let others = self.positions.iter().filter(|(_, (_, mark))| {
            mark.as_ref().and_then(|mark| mark.topic.as_ref()).is_some_and(|other| other != id)
        });
        others.map(|(number, _)| *number).min()
    }

    /// What there is, for a message.
    pub(super) fn said(&self) -> String {
        let mut numbers: Vec<i32> = self.positions.keys().copied().collect();
        numbers.sort_unstable();
        let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
        let those = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        format!("positions were in partitions 0 to {}, now in: {those}", self.whole - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Positions<'c> = &'c [(i32, Option<Mark>)];

    fn mark(whole: i32) -> Option<Mark> {
        Some(Mark { whole, topic: None })
    }

    #[test]
    fn marks_are_read_as_they_are_written() {
        for mark in [Mark::default(), Mark { whole: 12, topic: Some("q4x-_A".to_owned()) }] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
        assert_eq!(Mark::parse("gristmill/1 whole=3 later=yes"), mark(3));
        assert_eq!([Mark::parse(""), Mark::parse("mine"), Mark::parse("gristmill/1 whole=x")], [None, None, None]);
    }

    /// Partitions with a position and its mark; of how many; and what a partition without one is.
    #[test]
    fn a_partition_without_a_position_is_new_or_has_lost_it() {
        let cases: [(Positions<'_>, i32, i32, Absent); 8] = [
            (&[], 4, 2, Absent::NewGroup),
            // Another member of a new group was quicker.
            (&[(3, mark(0))], 4, 2, Absent::NewGroup),
            (&[(3, mark(4)), (0, mark(0))], 4, 2, Absent::Lost),
            (&[(0, mark(2)), (1, mark(2))], 4, 2, Absent::NewPartition),
            (&[(0, mark(2)), (1, mark(2)), (3, mark(2))], 4, 2, Absent::NewPartition),
            // Set by a tool, or before there were marks.
            (&[(0, None), (3, None)], 4, 2, Absent::Lost),
            (&[(0, None), (1, None)], 4, 2, Absent::NewPartition),
            // One was set by a tool, the others stay marked.
            (&[(0, None), (3, mark(0))], 4, 2, Absent::NewGroup),
        ];
        for (positions, count, partition, absent) in cases {
            let known = Known::new(count, positions.iter().map(|(number, mark)| (*number, 7, mark.clone())));
            assert_eq!(known.absent(partition), absent, "{positions:?}");
        }
    }

    #[test]
    fn all_partitions_are_known_once_each_has_a_position() {
        let mut known = Known::new(2, [(0, 5, mark(0))]);
        assert_eq!((known.absent(1), known.is_stale(0)), (Absent::NewGroup, false));
        assert!(known.committed(1, 0) && !known.committed(1, 9));
        assert_eq!((known.mark().whole, known.is_stale(0), known.is_stale(1)), (2, true, false));
        assert_eq!(known.position(1), Some(9));
    }

    #[test]
    fn a_first_commit_of_all_partitions_says_so_itself() {
        let mut known = Known::new(3, [(0, 5, mark(0))]);
        known.begin(&[1]);
        assert_eq!(known.mark().whole, 0);
        known.begin(&[2, 1]);
        assert_eq!(known.mark().whole, 3);
        let mut later = Known::new(5, []);
        later.after(&known);
        assert_eq!([2, 3].map(|partition| later.absent(partition)), [Absent::Lost, Absent::NewPartition]);
        // A group without any position, whose topic has got more partitions since this process looked.
        let mut later = Known::new(5, []);
        later.after(&Known::new(3, []));
        assert_eq!([2, 3].map(|partition| later.absent(partition)), [Absent::NewGroup, Absent::NewPartition]);
    }

    #[test]
    fn positions_of_a_topic_that_was_made_again_are_told_apart() {
        let of = |topic: &str| Some(Mark { whole: 2, topic: Some(topic.to_owned()) });
        let mut known = Known::new(2, [(0, 5, of("a")), (1, 5, of("b"))]);
        assert_eq!(known.identify("b"), Some(0));
        assert_eq!(Known::new(2, [(0, 5, of("b")), (1, 5, None)]).identify("b"), None);
        assert_eq!(known.mark().to_string(), "gristmill/1 whole=2 topic=b");
    }
}
