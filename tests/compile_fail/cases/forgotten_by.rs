//! A node without logic.

use gristmill::Stream;
use gristmill::topology::{Topology, provide};

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = Topology::new("pump").with(provide(ALARM).needs(WEAR));
}
