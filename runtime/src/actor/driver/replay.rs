//! Records that were read before are taken again.

use tokio::sync::oneshot;

use super::Running;
use super::hand_over::Beside;
use crate::traits::source::RawRecord;

/// A record to be taken again.
pub(crate) struct Replay {
    /// The source's own number of the partition.
    pub(crate) partition: u32,
    pub(crate) record: RawRecord,
    /// Told when all of it has had its effect, or why it could not be taken.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

impl Running {
    pub(super) fn replay(&mut self, Replay { partition, record, done }: Replay) {
        let Some(place) = self.by_local.get(&partition).copied() else {
            let _ = done.send(Err(format!("partition {partition} is not read by this process")));
            return;
        };
        let (bytes, parts) = (record.payload.len(), self.split_raw(place, vec![record]));
        let token = self.deliver(place, parts, 1, bytes, None, Beside::default());
        self.replaying.push(((token.partition, token.number), done));
    }
}
