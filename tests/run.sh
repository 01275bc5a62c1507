#!/bin/sh
# Everything CI runs: formatting, unit and behaviour tests, one build profile. Lints are `make lint`: clippy checks every
# dependency once more, which would add minutes to a first run.
set -eu
cd "$(dirname "$0")/.."
sh packaging/setup.sh tests
if cargo fmt --version >/dev/null 2>&1; then cargo fmt --check; fi
exec cargo test --locked --profile ci
