//! What the system says of this process.

use std::fs;

/// Bytes of memory that are resident; 0 where the system does not say.
pub(super) fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// Seconds of processor time that all living threads have had; 0 where the system does not say. It holds what ran
/// until the last time each thread slept, so it is read while the others sleep.
pub(super) fn processor_seconds() -> f64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e9
}
