# What a contributor and CI run. Everything is built in the release profile (with debug assertions), so that the C
# libraries are compiled once, and from Cargo.lock as it stands.

CARGO_FLAGS := --release --locked
TESTS := $(basename $(notdir $(wildcard tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs)))
# Those that need servers.
BROKER_TESTS := kafka cluster
STORE_TESTS := object_stores
QUICK_TESTS := $(addprefix --test ,$(filter-out $(BROKER_TESTS) $(STORE_TESTS),$(TESTS)))
PHASE := @scripts/phase
# The tests wait more than they compute: two for each processor at a time. On CI's machines, which may be slow, one.
TEST_THREADS := env RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(shell echo $$(($(if $(filter true,$(CI)),1,2) * $$(getconf _NPROCESSORS_ONLN))))}
NEW_SEEDS := SIM_FIRST=$${SIM_FIRST:-$$(date +%s)000} SIM_SEEDS=$${SIM_SEEDS:-2000}
NEW_MUTATIONS := FUZZ_SECONDS=$${FUZZ_SECONDS:-60}
# What CI draws anew; other runs take what is fixed.
DRAWN := $(if $(filter true,$(CI)),$(NEW_SEEDS) $(NEW_MUTATIONS))

.DEFAULT_GOAL := help
.PHONY: help tools test test-quick test-seeds fuzz test-kafka test-object-stores test-soak testbed deny fmt bench bench-restore bench-bulkheads

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "test-kafka uses the servers in KAFKA_BOOTSTRAP and SCHEMA_REGISTRY_URL where both are set, else the test bed."

test: tools ## everything: test-quick, then test-kafka
	@$(MAKE) --no-print-directory test-quick
	@$(MAKE) --no-print-directory test-kafka

tools: ## check for what the tests need, and say how to install it
	@scripts/check-tools

test-quick: ## format, lints, the tests that need neither a broker nor Java, and the count of instructions
	@scripts/check-tools quick
	$(PHASE) "format" cargo fmt --check
	$(PHASE) "lints" cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	$(PHASE) "tests" $(TEST_THREADS) $(DRAWN) cargo test $(CARGO_FLAGS) --lib $(QUICK_TESTS)
	$(PHASE) "guard" benches/guard

test-seeds: ## 2,000 new seeds of the simulated world, or SIM_SEEDS; a few minutes
	$(NEW_SEEDS) cargo test $(CARGO_FLAGS) --test simulation no_seed -- --nocapture

fuzz: ## new mutations of manifests, documents, payloads, tables and contents for a minute each, or FUZZ_SECONDS
	$(NEW_MUTATIONS) cargo test $(CARGO_FLAGS) --test fuzz -- --nocapture

test-kafka: ## the tests against a real broker and a real schema registry
	$(PHASE) "build of the broker tests" cargo test $(CARGO_FLAGS) $(addprefix --test ,$(BROKER_TESTS)) --no-run
	$(PHASE) "python environment" scripts/python-env
	$(PHASE) "broker tests" $(TEST_THREADS) scripts/with-testbed scripts/side-by-side $(BROKER_TESTS) -- cargo test $(CARGO_FLAGS) --test

test-object-stores: tools ## announced files in S3, Google Cloud Storage and Azure, by servers that speak their protocols (needs Node)
	$(PHASE) "lints with the stores" cargo clippy $(CARGO_FLAGS) --features s3,gcs,azure --all-targets -- -D warnings
	$(PHASE) "build with the stores" cargo test $(CARGO_FLAGS) --features s3,gcs,azure --test $(STORE_TESTS) --no-run
	$(PHASE) "servers of object stores" scripts/object-stores true
	$(PHASE) "object stores" scripts/object-stores cargo test $(CARGO_FLAGS) --features s3,gcs,azure --test $(STORE_TESTS)

test-soak: tools ## the suites that break everything under load, in full (make test has them short): an hour, with tables
	$(PHASE) "build of the broker tests" cargo test $(CARGO_FLAGS) --test cluster --no-run
	$(PHASE) "soak" env SOAK=1 scripts/with-testbed cargo test $(CARGO_FLAGS) --test cluster soak -- --nocapture --test-threads 1

bench-restore: ## how long a process takes to come back with 1 M settled files, or RESTORE_FILES
	$(PHASE) "build of the benchmark" cargo bench --locked --bench restore --no-run
	scripts/with-testbed cargo bench --locked --bench restore

bench-bulkheads: ## the p99 of a live target while 10,000 files, or BULKHEADS, wait for a dead one: at most 1.2 times
	BULKHEADS=$${BULKHEADS:-10000} cargo test $(CARGO_FLAGS) --test embedded what_waits_for_a_dead -- --nocapture

testbed: ## download and verify the test bed's broker and registry (scripts/testbed starts them)
	$(PHASE) "test bed" scripts/testbed fetch

deny: ## licences, bans and sources of the dependencies (needs cargo-deny: cargo install cargo-deny --locked)
	cargo deny check licenses bans sources

bench: tools ## the contests beside Kafka Streams and the bare client; BENCH="--files 20000 --rounds 1" for a short one
	benches/run $(BENCH)

fmt: ## format the code
	cargo fmt
