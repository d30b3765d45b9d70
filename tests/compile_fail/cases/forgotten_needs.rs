//! A node that says what it provides, but not what it needs.

use gristmill::Stream;
use gristmill::topology::{Topology, provide};

const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = Topology::new("pump").with(provide(ALARM));
}
