//! A gate that is not a bool stream.

use gristmill::Stream;
use gristmill::topology::provide;

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8).when(&WEAR);
}
