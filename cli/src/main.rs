//! `grist`.
fn main() {}
