//! How far the time of a partition's keys has got.

use std::sync::mpsc::SyncSender;

use actix::{Handler, Message};

use super::shard::Shard;
use crate::words::{Span, Time};

/// Asks for the newest time of a partition's keys on a shard, and how far back their rows are sorted in.
pub(crate) struct Newest {
    /// The partition, by its number on all shards.
    pub(crate) chain: u32,
    pub(crate) answer: SyncSender<Option<(Time, Span)>>,
}

impl Message for Newest {
    type Result = ();
}

impl Handler<Newest> for Shard {
    type Result = ();

    fn handle(&mut self, asked: Newest, _context: &mut Self::Context) {
        let of_partition = self.keys.iter().filter(|key| key.partition == asked.chain);
        let newest = of_partition.flat_map(|key| &key.axes).filter_map(|clock| clock.newest()).max();
        // The driver waits for it, unless its thread is gone.
        let _ = asked.answer.try_send(newest.map(|newest| (newest, self.options.policy.reorder)));
    }
}
