# One profile (`ci`) and one target folder for demo, tests and CI; release is for packages and benches.
.PHONY: demo test setup build corpus hostile bench lint clean
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

corpus: build
	$(CARGO) run --locked --profile ci --example corpus -- ../shared/corpus

hostile: setup
	EASTWATCH_HOSTILE=200 $(CARGO) test --locked --profile ci --test main hostile -- --nocapture

bench: setup
	sh benches/replay.sh

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --profile ci --all-targets -- -D warnings
