//! A sink that takes nothing.

use gristmill::topology::{Topology, sink};

fn main() {
    let _ = Topology::new("pump").with(sink("predictions"));
}
