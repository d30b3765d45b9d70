//! A closure with fewer arguments than the node has needs.

use gristmill::Stream;
use gristmill::topology::provide;

const RMS: Stream<f32> = Stream::new("vibration.rms");
const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs((RMS, WEAR)).by(|wear: f32| wear > 0.8);
}
