//! A type that no stream carries.

use gristmill::Stream;

fn main() {
    let _: Stream<u8> = Stream::new("count");
}
