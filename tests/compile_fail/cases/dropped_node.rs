//! Nodes that are begun and thrown away.
#![deny(unused_must_use)]

use gristmill::Stream;
use gristmill::topology::{provide, sensor, sink};

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    provide(ALARM);
    provide(ALARM).needs(WEAR);
    sensor(WEAR);
    sink("predictions");
}
