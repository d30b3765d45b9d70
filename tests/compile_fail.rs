//! What does not compile, and what the compiler says then: each file in `compile_fail/` beside its message.
//! `TRYBUILD=overwrite cargo test -p gristmill-tests --release --test compile_fail` writes the messages anew.

#[test]
fn wrong_topologies_do_not_compile_and_the_message_says_why() {
    trybuild::TestCases::new().compile_fail("compile_fail/*.rs");
}
