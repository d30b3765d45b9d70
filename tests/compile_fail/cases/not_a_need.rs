//! A need that is a name instead of a stream.

use gristmill::Stream;
use gristmill::topology::provide;

const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs("wear").by(|wear: f32| wear > 0.8);
}
