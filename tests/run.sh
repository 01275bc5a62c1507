#!/bin/sh
# Everything CI runs: formatting, lints, unit and behaviour tests, one build profile.
set -eu
cd "$(dirname "$0")/.."
sh packaging/setup.sh tests
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
if cargo fmt --version >/dev/null 2>&1; then cargo fmt --check; fi
cargo test --locked --profile ci --no-run
if cargo clippy --version >/dev/null 2>&1; then cargo clippy --locked --profile ci --all-targets --quiet -- -D warnings; fi
exec cargo test --locked --profile ci
