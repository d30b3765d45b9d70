//! Micro-batches cut by shard.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::FxHasher;

use crate::traits::RowsRecord;

/// The shard of a key: by a hash that is the same in every run.
pub(crate) fn shard_of(key: &str, shards: usize) -> usize {
    if shards == 1 {
        return 0;
    }
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(key);
    // The upper bits: the lower ones place keys in the shard's own tables.
    ((hash >> 32) as usize) % shards
}

pub(super) fn split<R>(records: Vec<R>, shards: usize, mut shard: impl FnMut(&R) -> usize) -> Vec<Option<VecDeque<R>>> {
    if shards == 1 {
        // All go to one; the first tells what kind they are.
        records.first().into_iter().for_each(|record| _ = shard(record));
        return vec![Some(records.into())];
    }
    let mut parts: Vec<VecDeque<R>> =
        (0..shards).map(|_| VecDeque::with_capacity(records.len() / shards + 1)).collect();
    for record in records {
        parts[shard(&record)].push_back(record);
    }
    parts.into_iter().map(|part| (!part.is_empty()).then_some(part)).collect()
}

/// About how much memory a decoded record holds.
pub(super) fn rows_bytes(record: &RowsRecord) -> usize {
    record.times.len() * (8 + record.columns.len() * 8)
}
