//! Where the actors of nodes and their mailboxes are in memory. With a hundred thousand nodes of single keys neither is in
//! the cache when a message comes; the next ones' are asked for while one is sent.

use std::hash::{Hash, Hasher};

use actix::Addr;

use super::node::NodeActor;
use crate::prefetch::prefetch_at;

/// Bytes of what an address leads to: how many messages there are, the queue, the waker of the task. This and the next were
/// measured: actix 0.13 and tokio 1 on x86-64. With another layout the hint misses a part, and that is all.
const MAILBOX_BYTES: usize = 112;
/// So many bytes before an actor its task begins, with all that the executor and the context keep of it.
const TASK_BEFORE: usize = 392;
const TASK_BYTES: usize = TASK_BEFORE + size_of::<NodeActor>();

/// The places in memory of a shard's nodes, by the place of their state. They are hints: one that is wrong, as those of a
/// node that has ended are, costs a fetch.
#[derive(Debug, Default)]
pub(crate) struct Near(Vec<Place>);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    mailbox: usize,
    actor: usize,
}

impl Near {
    /// A node's actor was started under an address.
    pub(super) fn mailbox(&mut self, cell: u32, address: &Addr<NodeActor>) {
        self.at(cell).mailbox = address_of(address);
    }

    /// An actor stands where it will stay.
    pub(super) fn actor(&mut self, cell: u32, actor: &NodeActor) {
        self.at(cell).actor = std::ptr::from_ref(actor).addr();
    }

    fn at(&mut self, cell: u32) -> &mut Place {
        let cell = cell as usize;
        if cell >= self.0.len() {
            self.0.resize(cell + 1, Place::default());
        }
        &mut self.0[cell]
    }

    /// Asks for a node's mailbox and actor to be brought near.
    #[inline]
    pub(super) fn prefetch(&self, cell: u32) {
        if let Some(place) = self.0.get(cell as usize) {
            prefetch_at(place.mailbox, MAILBOX_BYTES);
            prefetch_at(place.actor.wrapping_sub(TASK_BEFORE), TASK_BYTES);
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
