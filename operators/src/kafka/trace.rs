//! The header `traceparent`: read from records, written to predictions.

use gristmill::words::{Offset, TraceParent};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};

const HEADER: &str = "traceparent";

/// The trace that a record is part of, if its header says so, once and well.
pub(super) fn read(message: &BorrowedMessage<'_>) -> Option<(Offset, TraceParent)> {
    let mut said = message.headers()?.iter().filter(|header| header.key == HEADER);
    let first = said.next()?;
    let parent = if said.next().is_some() { None } else { TraceParent::parse(first.value?) };
    Some((Offset(message.offset()), parent?))
}

pub(super) fn write(parent: TraceParent) -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(1).insert(Header { key: HEADER, value: Some(&parent.to_string()) })
}
