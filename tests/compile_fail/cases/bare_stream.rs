//! A stream where a node should be: it needs a provider.

use gristmill::Stream;
use gristmill::topology::Topology;

const WEAR: Stream<f32> = Stream::new("wear");

fn main() {
    let _ = Topology::new("pump").with(WEAR);
}
