//! A sink that asks for a name instead of a stream.

use gristmill::topology::sink;

fn main() {
    let _ = sink("predictions").needs("alarm");
}
