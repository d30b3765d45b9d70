//! Records that wait because the client's queue is full: in order, and bounded by the frames in flight.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A record that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) key: Box<[u8]>,
    pub(super) payload: Box<[u8]>,
    pub(super) word: T,
}

/// What became of a record that was offered to the client.
pub(super) enum Offered<T> {
    Taken,
    /// The client's queue is full; the word comes back.
    Full(T),
}

/// One writer's queue before the client's. Once a record waits, all that come later wait behind it.
#[derive(Debug)]
pub(super) struct Overflow<T> {
    waiting: Mutex<VecDeque<Waiting<T>>>,
}

impl<T> Default for Overflow<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<T> Overflow<T> {
    /// Offers a record after those that wait; says whether any wait now.
    pub(super) fn offer(
        &self,
        key: &[u8],
        payload: &[u8],
        word: T,
        mut client: impl FnMut(&[u8], &[u8], T) -> Offered<T>,
    ) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let word = if waiting.is_empty() {
            match client(key, payload, word) {
                Offered::Taken => return false,
                Offered::Full(word) => word,
            }
        } else {
            word
        };
        waiting.push_back(Waiting { key: key.into(), payload: payload.into(), word });
        true
    }

    /// Offers what waits, until the client's queue is full; says whether any wait still.
    pub(super) fn drain(&self, mut client: impl FnMut(&[u8], &[u8], T) -> Offered<T>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Waiting { key, payload, word }) = waiting.pop_front() {
            if let Offered::Full(word) = client(&key, &payload, word) {
                waiting.push_front(Waiting { key, payload, word });
                return true;
            }
        }
        false
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_order_through_a_full_queue() {
        let overflow = Overflow::default();
        let (mut room, mut sent) = (2, Vec::new());
        for number in 0..5 {
            let waits = overflow.offer(b"", b"", number, |_, _, word| {
                if room == 0 {
                    return Offered::Full(word);
                }
                room -= 1;
                sent.push(word);
                Offered::Taken
            });
            assert_eq!(waits, number >= 2);
        }
        assert!(!overflow.is_empty());
        let mut room = 1;
        let mut more = |word| {
            if room == 0 {
                return Offered::Full(word);
            }
            room -= 1;
            sent.push(word);
            Offered::Taken
        };
        assert!(overflow.drain(|_, _, word| more(word)));
        // There is room now, but others wait already.
        assert!(overflow.offer(b"", b"", 5, |_, _, _| panic!("out of order")));
        assert!(!overflow.drain(|_, _, word| {
            sent.push(word);
            Offered::Taken
        }));
        assert_eq!(sent, [0, 1, 2, 3, 4, 5]);
    }
}
