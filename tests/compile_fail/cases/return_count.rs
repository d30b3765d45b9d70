//! A closure that returns one value where two are provided.

use gristmill::Stream;
use gristmill::topology::provide;

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");
const LIFE: Stream<f64> = Stream::new("life");

fn main() {
    let _ = provide((ALARM, LIFE)).needs(WEAR).by(|wear: f32| wear > 0.8);
}
