//! A hint to the processor to fetch memory that is needed soon.
//!
//! A frame goes through a node key by key, and the weights and states of thousands of keys do not fit the cache: each
//! key would wait for memory. The next keys' are asked for while this one is computed.
//!
//! This is the crate's one module with `unsafe` code: the standard library has the instruction, but no safe function
//! for it. It reads nothing and cannot fault; `fetches_change_nothing` runs under Miri (`cargo +nightly miri test -p
//! gristmill prefetch`).
#![expect(unsafe_code, reason = "see the module")]

/// Bytes that come together.
const LINE: usize = 64;
/// No more of a value than this is asked for: the rest would push out what is in use.
const BYTES_MAX: usize = 16 * 1024;

/// So many keys before its own the place of a key's state or artifact is asked for; its artifact; what either holds.
pub(crate) const PLACE_AHEAD: usize = 8;
pub(crate) const MODEL_AHEAD: usize = 4;
pub(crate) const CONTENT_AHEAD: usize = 2;

/// Asks for a value, or a slice of values, to be brought near; it changes nothing else.
///
/// ```
/// let weights = vec![1.5_f32; 1000];
/// gristmill::prefetch::prefetch(&weights[..]);
/// assert!(weights.iter().all(|weight| *weight == 1.5));
/// ```
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).addr(), size_of_val(value).min(BYTES_MAX));
}

/// Asks for so many bytes from an address on; nothing need be there.
#[inline]
pub(crate) fn prefetch_at(address: usize, bytes: usize) {
    // They may begin within a line, and then end one line later.
    let within = address % LINE;
    let mut line = std::ptr::without_provenance::<u8>(address - within);
    for _ in 0..(within + bytes).div_ceil(LINE) {
        fetch(line);
        line = line.wrapping_add(LINE);
    }
}

#[inline]
fn fetch(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction is a hint that takes any address; it belongs to SSE, which every x86-64 processor has.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn fetches_change_nothing() {
        let values: Vec<u64> = (0..5_000).collect();
        prefetch(&values[..]);
        prefetch(&values[..0]);
        prefetch(&values[4_999]);
        prefetch::<dyn std::fmt::Debug>(&values);
        prefetch("");
        assert!(values.into_iter().eq(0..5_000));
    }
}
