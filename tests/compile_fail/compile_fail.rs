//! What does not compile, and what the compiler says then: each file in `cases/` beside its message. A package of its
//! own: whatever the package of such a test depends on is checked anew for it.
//! `TRYBUILD=overwrite cargo test -p gristmill-compile-fail --release` writes the messages anew.

#[test]
fn wrong_topologies_do_not_compile_and_the_message_says_why() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
