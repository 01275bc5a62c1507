# One profile (`ci`) and one target folder for demo, tests and CI; release is for packages and benches.
.PHONY: demo test setup build recorded corpus scenarios hostile twins bench bench-cost lint clean
CARGO ?= cargo
BUILD := $(CARGO) build --locked --profile ci
BIN := target/ci/eastwatch

setup:
	@sh packaging/setup.sh

build: setup
	$(BUILD)

demo: build
	@sh examples/demo.sh $(BIN)

test: setup
	sh tests/run.sh

# Real servers in network namespaces of their own (`sh packaging/setup.sh tests` installs them); needs root.
recorded: setup
	/usr/bin/python3 tests/record/record.py --allow-missing target/recorded

# Records first where it may: the protocols that the corpus lacks are judged on recordings.
corpus: build
	@[ -e target/recorded/recorded.tsv ] || [ "$$(id -u)" != 0 ] || $(MAKE) recorded
	$(CARGO) run --locked --profile ci --example corpus -- ../shared/corpus

# Simulated sites; SEEDS=2 SIZES=S,M DAYS=8 make it smaller (docs/scenarios.md).
scenarios: setup
	$(CARGO) run --locked --profile ci --example scenarios

hostile: setup
	EASTWATCH_HOSTILE=200 $(CARGO) test --locked --profile ci --test main hostile -- --nocapture

twins: setup
	EASTWATCH_TWINS=all $(CARGO) test --locked --profile ci --test main twin_corpus -- --nocapture

bench: setup
	sh benches/replay.sh

bench-cost: setup
	sh benches/cost.sh

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --profile ci --all-targets -- -D warnings
