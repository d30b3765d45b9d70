//! An initial value of another type than the stream has.

use gristmill::Stream;
use gristmill::topology::{previous, provide};

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs((WEAR, previous(WEAR, false))).by(|wear: f32, before: f32| wear > before);
}
