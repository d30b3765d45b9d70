//! The run queue of a shard: what runs the actors of keys' own nodes. There may be hundreds of thousands of them, and a
//! message to one is a microsecond of work, of which a task of the executor for each would be a tenth. One task polls those
//! that got frames, in that order, and asks for the memory of the next ones while it polls one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Wake, Waker};

use slab::Slab;

use super::node::{NodeActor, Run};
use super::own_actor::OwnActor;
use crate::prefetch::prefetch;

/// So many actors are polled before other tasks of the thread get their turn: about the work of one node of all keys.
const POLLS_A_TURN: usize = 16;
/// So many actors before its own turn an actor's mailbox is asked for, and what the actor is.
const MAILBOX_AHEAD: usize = 12;
const ACTOR_AHEAD: usize = 6;

/// Starts actors. They end with their last address; the task ends when this is dropped and none is left.
pub(crate) struct RunQueue {
    queue: Rc<Queue>,
    runs: bool,
}

/// The actors of a shard, and those that have something to do, as far as its thread said so.
#[derive(Default)]
pub(crate) struct Queue {
    actors: RefCell<Slab<Rc<OwnActor>>>,
    /// In their order.
    ready: RefCell<VecDeque<Rc<OwnActor>>>,
    task_waits: Cell<bool>,
    woken: Arc<Woken>,
}

/// What is said from anywhere, and who is to be told.
#[derive(Default)]
struct Woken(Mutex<Wakes>);

#[derive(Default)]
struct Wakes {
    /// Those for which something is there that is no frame, by their places.
    actors: Vec<u32>,
    /// Those whose last address is gone.
    ended: Vec<u32>,
    /// The task, while it waits.
    task: Option<Waker>,
    /// Nobody starts another actor.
    closed: bool,
}

/// Where a node of a key takes frames.
#[derive(Clone)]
pub(crate) struct Address {
    place: u32,
    _end: Arc<End>,
}

/// Dropped with the last address.
struct End(WakeActor);

/// Wakes an actor from anywhere.
struct WakeActor {
    place: u32,
    woken: Arc<Woken>,
}

impl RunQueue {
    pub(super) fn new(queue: Rc<Queue>) -> Self {
        Self { queue, runs: false }
    }

    /// Starts an actor with a mailbox for so many frames.
    pub(super) fn start(&mut self, actor: NodeActor, mailbox: usize) -> Address {
        let mut actors = self.queue.actors.borrow_mut();
        let entry = actors.vacant_entry();
        let place = u32::try_from(entry.key()).expect("fewer than 2^32 nodes");
        entry.insert(OwnActor::new(actor, place, mailbox));
        if !self.runs {
            self.runs = true;
            actix::spawn(Polls { queue: Rc::clone(&self.queue), batch: VecDeque::new() });
        }
        Address { place, _end: Arc::new(End(self.queue.wake(place))) }
    }

    /// An actor may wait for other things than frames.
    pub(super) fn may_await(&self, Address { place, .. }: &Address) {
        self.queue.actors.borrow()[*place as usize].waker(|| Arc::new(self.queue.wake(*place)).into());
    }
}

impl Drop for RunQueue {
    fn drop(&mut self) {
        self.queue.woken.change(|wakes| wakes.closed = true);
    }
}

impl Queue {
    /// Gives a node a frame; `false` when its mailbox is full.
    #[inline]
    pub(super) fn send(&self, to: &Address, run: Run) -> bool {
        let actors = self.actors.borrow();
        let actor = &actors[to.place as usize];
        self.ready.borrow_mut().push_back(Rc::clone(actor));
        if self.task_waits.take() {
            self.woken.change(|_| ());
        }
        actor.put(run)
    }

    /// Asks for what a frame for a node touches to be brought near.
    #[inline]
    pub(super) fn prefetch(&self, to: &Address) {
        self.actors.borrow().get(to.place as usize).into_iter().for_each(|actor| prefetch(actor.as_ref()));
    }

    fn wake(&self, place: u32) -> WakeActor {
        WakeActor { place, woken: Arc::clone(&self.woken) }
    }

    /// Takes those that have something to do by now; `false` when there are none, and the task is woken when there are.
    fn next(&self, batch: &mut VecDeque<Rc<OwnActor>>, task: &task::Context<'_>) -> bool {
        std::mem::swap(&mut *self.ready.borrow_mut(), batch);
        let mut wakes = self.woken.0.lock().expect("nobody panics with this lock");
        let (actors, Wakes { actors: woken, ended, .. }) = (self.actors.borrow(), &mut *wakes);
        ended.iter().filter_map(|place| actors.get(*place as usize)).for_each(|actor| actor.close());
        // Whoever was woken when it had ended is not there.
        batch.extend(woken.drain(..).chain(ended.drain(..)).filter_map(|place| actors.get(place as usize).cloned()));
        if batch.is_empty() {
            wakes.task = Some(task.waker().clone());
            self.task_waits.set(true);
        }
        !batch.is_empty()
    }

    /// Whether all have ended, and nobody starts another.
    fn is_over(&self) -> bool {
        self.actors.borrow().is_empty() && self.woken.0.lock().expect("nobody panics with this lock").closed
    }
}

impl Woken {
    /// Changes what is known and tells the task.
    fn change(&self, change: impl FnOnce(&mut Wakes)) {
        let mut wakes = self.0.lock().expect("nobody panics with this lock");
        change(&mut wakes);
        let task = wakes.task.take();
        drop(wakes);
        task.into_iter().for_each(Waker::wake);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.woken.change(|wakes| wakes.ended.push(self.0.place));
    }
}

impl Wake for WakeActor {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.change(|wakes| wakes.actors.push(self.place));
    }
}

/// The task.
struct Polls {
    queue: Rc<Queue>,
    /// Those whose turn comes next, taken from the queue together.
    batch: VecDeque<Rc<OwnActor>>,
}

impl Future for Polls {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        let Self { queue, batch } = &mut *self;
        for _ in 0..POLLS_A_TURN {
            if batch.is_empty() && !queue.next(batch, context) {
                return if queue.is_over() { Poll::Ready(()) } else { Poll::Pending };
            }
            batch.get(MAILBOX_AHEAD).into_iter().for_each(|next| prefetch(next.as_ref()));
            batch.get(ACTOR_AHEAD).into_iter().for_each(|next| next.prefetch());
            let Some(actor) = batch.pop_front() else { continue };
            if actor.poll() {
                queue.actors.borrow_mut().remove(actor.place as usize);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        // Each holds what holds the queue.
        self.queue.ready.take();
        drop(self.queue.actors.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::cell::Shared;

    async fn turns(count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn actors_end_with_their_last_address_and_their_places_are_used_again() {
        let system = actix::System::new();
        system.block_on(async {
            let shared = Rc::new(Shared::default());
            let actor = || NodeActor::new(Rc::clone(&shared), None);
            let mut queue = RunQueue::new(Rc::clone(&shared.queue));
            let mut addresses: Vec<_> = (0..100).map(|_| queue.start(actor(), 4)).collect();
            turns(100).await;
            assert_eq!((queue.queue.actors.borrow().len(), Rc::strong_count(&shared)), (100, 101));

            let another = addresses[99].clone();
            addresses.truncate(40);
            turns(100).await;
            assert_eq!((queue.queue.actors.borrow().len(), Rc::strong_count(&shared)), (41, 42));

            // The last one goes on another thread.
            std::thread::spawn(move || drop(another)).join().expect("it drops an address");
            turns(100).await;
            assert_eq!((queue.queue.actors.borrow().len(), Rc::strong_count(&shared)), (40, 41));

            addresses.push(queue.start(actor(), 4));
            turns(100).await;
            assert!(queue.queue.actors.borrow().capacity() <= 128, "an ended actor's place is free");

            drop(queue);
            turns(100).await;
            assert_eq!(shared.queue.actors.borrow().len(), 41, "they still have addresses");
            assert_eq!(Rc::strong_count(&shared.queue), 2, "the task goes on");
            drop(addresses);
            turns(100).await;
            assert_eq!(Rc::strong_count(&shared.queue), 1, "the task has ended");
            assert_eq!(Rc::strong_count(&shared), 1);
        });
    }
}
