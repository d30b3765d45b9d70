//! Where the mailboxes of keys' own nodes are in memory. With a hundred thousand of them they are not in the cache when a
//! message comes; the next ones' are asked for while one is sent.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use actix::Addr;

use super::node::NodeActor;
use super::run_queue::Place;
use crate::prefetch::prefetch_at;

/// Bytes of what an address leads to: how many messages there are, the queue, the waker. It was measured, for actix 0.13 on
/// x86-64; with another layout the hint misses a part, and that is all.
const MAILBOX_BYTES: usize = 112;

/// The places in memory of a shard's nodes, by the place of their state. They are hints: one that is wrong, as those of a
/// node that has ended are, costs a fetch.
#[derive(Debug, Default)]
pub(crate) struct Near(Vec<Addresses>);

#[derive(Clone, Copy, Debug, Default)]
struct Addresses {
    mailbox: usize,
    woken: usize,
}

impl Near {
    /// A node's actor was started under an address, and is woken by way of its place in the run queue.
    pub(super) fn set(&mut self, cell: u32, address: &Addr<NodeActor>, woken: &Arc<Place>) {
        let cell = cell as usize;
        if cell >= self.0.len() {
            self.0.resize(cell + 1, Addresses::default());
        }
        self.0[cell] = Addresses { mailbox: address_of(address), woken: Arc::as_ptr(woken).addr() };
    }

    /// Asks for what a message to a node touches to be brought near.
    #[inline]
    pub(super) fn prefetch(&self, cell: u32) {
        if let Some(of) = self.0.get(cell as usize) {
            prefetch_at(of.mailbox, MAILBOX_BYTES);
            prefetch_at(of.woken, size_of::<Place>());
        }
    }
}

/// Where an address leads: it is hashed as that.
fn address_of(address: &Addr<NodeActor>) -> usize {
    #[derive(Default)]
    struct Seen(usize);
    impl Hasher for Seen {
        fn finish(&self) -> u64 {
            self.0 as u64
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_usize(&mut self, number: usize) {
            self.0 = number;
        }
    }
    let mut seen = Seen::default();
    address.hash(&mut seen);
    seen.0
}
