//! A closure that takes another type than the need has.

use gristmill::Stream;
use gristmill::topology::provide;

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs(WEAR).by(|wear: f64| wear > 0.8);
}
