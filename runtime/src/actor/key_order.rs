//! In what order keys come. Most sources tell of the same devices in the same order again and again; then the next key is
//! known without a search, whose memory would be waited for.

use crate::words::KeyIndex;

/// Which key came after which, the last time.
#[derive(Default)]
pub(super) struct KeyOrder {
    /// By the key before.
    after: Vec<KeyIndex>,
    last: usize,
    /// Whether the last key came after the one before it as the time before.
    holds: bool,
}

impl KeyOrder {
    /// The key that comes next if all comes as before.
    #[inline]
    pub(super) fn guess(&self) -> Option<KeyIndex> {
        self.holds.then(|| self.after.get(self.last).copied()).flatten()
    }

    /// A key came, one of so many.
    #[inline]
    pub(super) fn came(&mut self, key: KeyIndex, keys: usize) {
        if self.after.len() < keys {
            self.after.resize(keys, KeyIndex(u32::MAX));
        }
        if let Some(after) = self.after.get_mut(self.last) {
            self.holds = *after == key;
            *after = key;
        }
        self.last = key.0 as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these are guessed.
    fn guessed(order: &mut KeyOrder, keys: &[u32]) -> usize {
        let mut right = 0;
        for key in keys {
            right += usize::from(order.guess() == Some(KeyIndex(*key)));
            order.came(KeyIndex(*key), 100);
        }
        right
    }

    #[test]
    fn what_came_before_is_expected_again_and_a_search_is_not_wasted_on_disorder() {
        let mut order = KeyOrder::default();
        let there: Vec<u32> = (0..100).collect();
        let back: Vec<u32> = (0..100).rev().collect();
        guessed(&mut order, &there);
        assert_eq!(guessed(&mut order, &there), 98, "all but the first, and what it tells");
        guessed(&mut order, &back);
        assert_eq!(guessed(&mut order, &back), 98);
        assert!(guessed(&mut order, &there) < 3);
        assert_eq!(order.guess(), None, "it does not hold");
    }
}
