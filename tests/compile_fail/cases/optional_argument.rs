//! A closure that takes an optional need as if it were always there.

use gristmill::Stream;
use gristmill::topology::{optional, provide};

const WEAR: Stream<f32> = Stream::new("wear");
const TEMPERATURE: Stream<f32> = Stream::new("temperature");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs((WEAR, optional(TEMPERATURE))).by(|wear: f32, temperature: f32| wear + temperature > 9.0);
}
