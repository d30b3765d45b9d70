//! A need that is a name instead of a stream, beside one that is a stream.

use gristmill::Stream;
use gristmill::topology::provide;

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs((WEAR, "rms")).by(|wear: f32, rms: f32| wear > rms);
}
