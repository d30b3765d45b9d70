//! The actor of a key's own node, with its mailbox: a bounded channel of frames. Who sends, who receives and who polls are on
//! the thread of the shard, so that nothing is locked, nothing allocated for a message, and all of it is where the look-ahead
//! asks for it.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{self, Poll, Waker, ready};

use actix::dev::ContextFut;
use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context};
use smallvec::SmallVec;

use super::node::{NodeActor, Run};
use crate::prefetch::{prefetch, prefetch_at};

/// See the module.
pub(super) struct OwnActor {
    mailbox: RefCell<SmallVec<[Run; 1]>>,
    /// Of the mailbox, in frames.
    capacity: u32,
    /// Its place among those of the shard.
    pub(super) place: u32,
    /// What runs it; nothing while it is polled, and when it has ended.
    actor: Cell<Option<Pin<Box<Running>>>>,
    /// Where the reader of its mailbox is in memory: a hint.
    reader: Cell<usize>,
    /// If it may wait for other things than frames.
    waker: OnceCell<Box<Waker>>,
    closed: Cell<bool>,
}

type Running = ContextFut<NodeActor, Context<NodeActor>>;

impl OwnActor {
    /// At a place, with a mailbox for so many frames.
    pub(super) fn new(actor: NodeActor, place: u32, capacity: usize) -> Rc<Self> {
        Rc::new_cyclic(|own| {
            let mut context = Context::new();
            context.wait(Reader { own: Weak::clone(own), slow: None });
            Self {
                mailbox: RefCell::default(),
                capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
                place,
                actor: Cell::new(Some(Box::pin(context.into_future(actor)))),
                reader: Cell::new(0),
                waker: OnceCell::new(),
                closed: Cell::new(false),
            }
        })
    }

    /// Takes a frame; `false` when its mailbox is full.
    #[inline]
    pub(super) fn put(&self, run: Run) -> bool {
        let mut mailbox = self.mailbox.borrow_mut();
        let has_room = mailbox.len() < self.capacity as usize;
        if has_room {
            mailbox.push(run);
        }
        has_room
    }

    #[inline]
    fn next(&self) -> Option<Run> {
        let mut mailbox = self.mailbox.borrow_mut();
        (!mailbox.is_empty()).then(|| mailbox.remove(0))
    }

    /// No frame comes any more: it ends after those that are there.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// What wakes it when that for which it waits is there. Frames wake nobody: they are polled for.
    pub(super) fn waker(&self, waker: impl FnOnce() -> Waker) {
        self.waker.get_or_init(|| Box::new(waker()));
    }

    /// Lets it go on; whether it has ended.
    #[inline]
    pub(super) fn poll(&self) -> bool {
        let Some(mut actor) = self.actor.take() else { return false };
        let waker = self.waker.get().map_or(Waker::noop(), |waker| waker.as_ref());
        let ended = actor.as_mut().poll(&mut task::Context::from_waker(waker)).is_ready();
        if !ended {
            self.actor.set(Some(actor));
        }
        ended
    }

    /// Asks for what [`Self::poll`] touches besides to be brought near.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Some(actor) = self.actor.take() {
            prefetch(&*actor);
            self.actor.set(Some(actor));
        }
        prefetch_at(self.reader.get(), size_of::<Reader>());
    }
}

/// What an actor does: it takes one frame after the other, until no more comes.
struct Reader {
    own: Weak<OwnActor>,
    /// A frame that waits for a pool.
    slow: Option<Slow>,
}

/// The rest of a frame's work.
pub(super) type Slow = Pin<Box<dyn ActorFuture<NodeActor, Output = ()>>>;

impl ActorFuture<NodeActor> for Reader {
    type Output = ();

    #[inline]
    fn poll(
        self: Pin<&mut Self>,
        actor: &mut NodeActor,
        context: &mut <NodeActor as Actor>::Context,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        let Some(own) = this.own.upgrade() else { return Poll::Ready(()) };
        own.reader.set(std::ptr::from_ref(this).addr());
        loop {
            if let Some(slow) = &mut this.slow {
                ready!(slow.as_mut().poll(actor, context, task));
            }
            this.slow = actor.slow();
            if this.slow.is_some() {
                continue;
            }
            match own.next() {
                Some(run) => actor.take(run, context),
                None if own.closed.get() => return Poll::Ready(()),
                None => return Poll::Pending,
            }
        }
    }
}
