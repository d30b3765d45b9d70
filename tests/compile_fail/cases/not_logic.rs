//! Something that is neither a closure nor an operator nor a model.

use gristmill::Stream;
use gristmill::topology::provide;

const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() {
    let _ = provide(ALARM).needs(WEAR).by("wear > 0.8");
}
