//! Who waits until micro-batches are done: those of older plans, or those that were handed over before the question.

use tokio::sync::oneshot;

use super::Running;
use crate::words::Revision;

/// What of the micro-batches in flight has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Those that an older plan than this computes.
    Older(Revision),
    /// Those that have been handed over so far; a source may go on handing over.
    HandedOver,
}

/// Somebody waits.
pub(super) struct Waiting {
    awaited: Awaited,
    tell: oneshot::Sender<()>,
}

enum Awaited {
    Older(Revision),
    /// Of each partition that there was, all below this number.
    Below(Vec<u64>),
}

impl Running {
    /// Tells once that is done, at once if it is.
    pub(super) fn await_done(&mut self, until: Until, tell: oneshot::Sender<()>) {
        let awaited = match until {
            Until::Older(revision) => Awaited::Older(revision),
            Until::HandedOver => {
                Awaited::Below(self.partitions.iter().map(|partition| partition.in_flight.next()).collect())
            }
        };
        self.waiting.push(Waiting { awaited, tell });
        self.tell_drained();
    }

    /// Tells those whose micro-batches are done.
    pub(super) fn tell_drained(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.record();
        for waiting in std::mem::take(&mut self.waiting) {
            if self.is_done(&waiting.awaited) {
                // Who asked may have gone.
                let _ = waiting.tell.send(());
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    fn is_done(&self, awaited: &Awaited) -> bool {
        let mut flying = self.partitions.iter().map(|partition| &partition.in_flight);
        match awaited {
            Awaited::Older(revision) => {
                self.late.is_none() && flying.all(|flying| flying.oldest().is_none_or(|oldest| oldest >= *revision))
            }
            Awaited::Below(numbers) => flying.zip(numbers).all(|(flying, number)| flying.done_below() >= *number),
        }
    }
}
