//! The run queue of a shard: what runs the actors of keys' own nodes. There may be hundreds of thousands of them, and a
//! message to one is a microsecond of work, of which a task of the executor for each would be a tenth. One task polls the
//! actors that were woken, in that order, and asks for the memory of the next ones while it polls one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Wake, Waker};

use actix::dev::ContextFut;
use actix::{Addr, Context};
use slab::Slab;

use super::node::NodeActor;
use crate::prefetch::prefetch;

/// So many actors are polled before other tasks of the thread get their turn: about the work of one node of all keys.
const POLLS_A_TURN: usize = 16;
/// So many actors before its own turn an actor's memory is asked for.
const ACTOR_AHEAD: usize = 6;

/// The actors that one task runs. They end with their last address; the task ends when this is dropped and none is left.
#[derive(Default)]
pub(crate) struct RunQueue {
    actors: Rc<Actors>,
    woken: Arc<Woken>,
    runs: bool,
}

/// Those that are not being polled; the place of one that is stays its own.
type Actors = RefCell<Slab<Option<Running>>>;

struct Running {
    actor: Pin<Box<ContextFut<NodeActor, Context<NodeActor>>>>,
    place: Arc<Place>,
    waker: Waker,
}

/// Which actors have something to do, and who is to be told.
#[derive(Default)]
struct Woken(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    places: VecDeque<usize>,
    /// The task, while it waits.
    task: Option<Waker>,
    /// Nobody starts another actor.
    closed: bool,
}

/// An actor's place among all.
pub(super) struct Place {
    number: usize,
    /// Whether it is in the queue.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl RunQueue {
    /// Starts an actor; its address, and what is touched when it is woken.
    pub(super) fn start(&mut self, actor: NodeActor) -> (Addr<NodeActor>, Arc<Place>) {
        let actor = Box::pin(Context::new().into_future(actor));
        let address = actor.address();
        let mut actors = self.actors.borrow_mut();
        let entry = actors.vacant_entry();
        let (number, woken) = (entry.key(), Arc::clone(&self.woken));
        let place = Arc::new(Place { number, queued: AtomicBool::new(false), woken });
        let waker = Waker::from(Arc::clone(&place));
        entry.insert(Some(Running { actor, place: Arc::clone(&place), waker }));
        drop(actors);
        place.wake_by_ref();
        if !self.runs {
            self.runs = true;
            let run = Run { actors: Rc::clone(&self.actors), woken: Arc::clone(&self.woken), batch: VecDeque::new() };
            actix::spawn(run);
        }
        (address, place)
    }
}

impl Drop for RunQueue {
    fn drop(&mut self) {
        self.woken.change(|queue| queue.closed = true);
    }
}

impl Woken {
    /// Changes the queue and tells the task.
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.0.lock().expect("nobody panics with this lock");
        change(&mut queue);
        let task = queue.task.take();
        drop(queue);
        task.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.change(|queue| queue.places.push_back(self.number));
        }
    }
}

/// The task.
struct Run {
    actors: Rc<Actors>,
    woken: Arc<Woken>,
    /// Those whose turn comes next, taken from the queue together.
    batch: VecDeque<usize>,
}

impl Future for Run {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        for _ in 0..POLLS_A_TURN {
            if self.batch.is_empty() {
                let this = &mut *self;
                let mut queue = this.woken.0.lock().expect("nobody panics with this lock");
                std::mem::swap(&mut queue.places, &mut this.batch);
                if this.batch.is_empty() {
                    queue.task = Some(context.waker().clone());
                    let over = queue.closed && this.actors.borrow().is_empty();
                    return if over { Poll::Ready(()) } else { Poll::Pending };
                }
            }
            self.poll_next();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Run {
    fn poll_next(&mut self) {
        let Some(place) = self.batch.pop_front() else { return };
        let running = {
            let mut actors = self.actors.borrow_mut();
            let ahead = self.batch.get(ACTOR_AHEAD).and_then(|place| actors.get(*place)?.as_ref());
            ahead.into_iter().for_each(|next| prefetch(&*next.actor));
            actors.get_mut(place).and_then(Option::take)
        };
        // Whoever is woken once more when it has ended is not there.
        let Some(mut running) = running else { return };
        // What was sent before it was woken is seen from here on; what comes later wakes it again.
        running.place.queued.swap(false, Ordering::AcqRel);
        let polled = running.actor.as_mut().poll(&mut task::Context::from_waker(&running.waker));
        let mut actors = self.actors.borrow_mut();
        match polled {
            Poll::Pending => actors[place] = Some(running),
            Poll::Ready(()) => _ = actors.remove(place),
        }
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
            let actor = || NodeActor::new(Rc::clone(&shared), None, 4);
            let mut queue = RunQueue::default();
            let mut addresses: Vec<_> = (0..100).map(|_| queue.start(actor()).0).collect();
            turns(100).await;
            assert!(addresses.iter().all(Addr::connected));
            assert_eq!((queue.actors.borrow().len(), Rc::strong_count(&shared)), (100, 101));

            addresses.truncate(40);
            turns(100).await;
            assert_eq!((queue.actors.borrow().len(), Rc::strong_count(&shared)), (40, 41));

            addresses.push(queue.start(actor()).0);
            turns(100).await;
            assert!(queue.actors.borrow().capacity() <= 128, "an ended actor's place is free");

            let actors = Rc::downgrade(&queue.actors);
            drop(queue);
            turns(100).await;
            assert_eq!(actors.upgrade().map(|actors| actors.borrow().len()), Some(41), "they still have addresses");
            drop(addresses);
            turns(100).await;
            assert!(actors.upgrade().is_none(), "the task has ended");
            assert_eq!(Rc::strong_count(&shared), 1);
        });
    }
}
