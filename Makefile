# peon-operator. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Everything expensive lives outside the checkout, so that a fresh clone builds little.
export PEON_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/peon-operator
export CARGO_TARGET_DIR ?= $(PEON_CACHE)/target
CARGO_TOOLS := $(PEON_CACHE)/cargo-tools
CARGO_DENY_VERSION := 0.20.2
CARGO_MUTANTS_VERSION := 27.1.0
# The version of the test cluster, whole or by its minor: 1.35, 1.36 (the default) or 1.37.
export KUBERNETES ?=
E2E = $(CARGO_TARGET_DIR)/debug/e2e
IMAGE ?= peon-operator:dev
BASE ?= gcr.io/distroless/cc-debian12:nonroot

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: tools ## From nothing to a Druid ingestion in a pod, on a cluster of its own (KEEP=1 leaves it running)
	@$(E2E) --wait demo $(if $(KEEP),--keep)

# Many unit tests wait for a retry or an answer: four for each core run at the same time.
export RUST_TEST_THREADS ?= $(shell echo $$((4 * $$(nproc))))

# The cases of property tests are the same in each run, so that a run that fails can be repeated; `make test-full` takes
# others each time.
.PHONY: test
test: export PROPTEST_RNG_SEED ?= 1
test: tools ## Everything: unit and property tests, the chart, a real cluster, a real Druid
	@./scripts/test.sh $(E2E)

.PHONY: test-full
test-full: export HISTORIES := 10000
test-full: export PROPTEST_RNG_SEED := $(shell date +%s)
test-full: export PROPTEST_CASES := 2000
test-full: export FUZZ_OBJECTS := 10000
test-full: export FULL := 1
test-full: test ## As test, with 10,000 random histories and fuzzed objects, every end of a task in every store, long faults, a stream, and tasks on the oldest and the newest Kubernetes

.PHONY: bench
bench: tools ## What a task costs: this operator with pods and with a pool, Jobs and bare clients in turns, on fake nodes (twenty minutes; N=n ROUNDS=n ONLY=ways PAYLOAD=KiB INDEXERS=n SLOTS=n TASK_MILLIS=n JSON=file PICTURE=file)
	@echo "building with optimisation (several minutes the first time) …"
	@cargo build --quiet --release --workspace --bin peon-operator
	@cargo build --quiet --profile drivers --workspace --bin run_tasks --bin model_indexers
	@$(E2E) --wait bench $(if $(N),--tasks $(N)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(PAYLOAD),--payload $(PAYLOAD)) $(if $(INDEXERS),--indexers $(INDEXERS)) $(if $(SLOTS),--slots $(SLOTS)) $(if $(TASK_MILLIS),--task-millis $(TASK_MILLIS)) $(if $(JSON),--json $(JSON)) $(if $(PICTURE),--picture $(PICTURE))

.PHONY: bench-logs
bench-logs: tools ## What the log followers cost, beside a plain client, on the test cluster (some minutes)
	@echo "building with optimisation (several minutes the first time) …"
	@cargo build --quiet --profile drivers --workspace --bin follow
	@OPTIMISED=1 CONTAINER_LOG_MAX_SIZE=1Gi $(E2E) --wait bench-logs

.PHONY: bench-middle-manager
bench-middle-manager: tools ## How soon tasks run and end, beside a stock MiddleManager, on the test cluster (twenty minutes; ROUNDS=n CLASS_ARCHIVE=1)
	@echo "building with optimisation (several minutes the first time) …"
	@OPTIMISED=1 $(E2E) --wait bench-middle-manager $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(CLASS_ARCHIVE),--class-archive)

.PHONY: bench-pool
bench-pool: tools ## Small tasks in pools, in pods and behind stock workers: how many, what they cost (twenty minutes; N=n ROUNDS=n JSON=file PICTURE=file)
	@echo "building with optimisation (several minutes the first time) …"
	@OPTIMISED=1 $(E2E) --wait bench-pool $(if $(N),--tasks $(N)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON)) $(if $(PICTURE),--picture $(PICTURE))

.PHONY: bench-pool-start
bench-pool-start: tools ## How soon a task ends in a warm Indexer, in its own pod, and behind a stock MiddleManager (twenty minutes; ROUNDS=n PICTURE=file)
	@echo "building with optimisation (several minutes the first time) …"
	@OPTIMISED=1 $(E2E) --wait bench-pool-start $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PICTURE),--picture $(PICTURE))

.PHONY: bench-schema
bench-schema: tools ## What the CRD of PeonTask costs the API server, on the test cluster (TASKS=n ROUNDS=n CRDS="files")
	@$(E2E) --wait bench-schema $(if $(TASKS),--tasks $(TASKS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(CRDS)

.PHONY: bench-assign
bench-assign: tools ## How many assignments a second the workers of an overlord acknowledge, on the test cluster (some minutes)
	@echo "building with optimisation (several minutes the first time) …"
	@OPTIMISED=1 $(E2E) --wait bench-assign

.PHONY: unit
unit: export HISTORIES ?= 300
unit: export PROPTEST_RNG_SEED ?= 1
unit: ## The fast loop: no cluster, no network
	@cargo test --lib --test architecture --test crds --test docs --test release

.PHONY: lint
lint: toolchain $(CARGO_TOOLS)/bin/cargo-deny ## Formatting, clippy, documentation; licences, sources and (once make audit fetched them) advisories of dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	$(CARGO_TOOLS)/bin/cargo-deny --log-level error check bans licenses sources
	@./scripts/advisories.sh $(CARGO_TOOLS)/bin/cargo-deny
	@./scripts/generated.sh

.PHONY: audit
audit: toolchain $(CARGO_TOOLS)/bin/cargo-deny ## Known vulnerabilities of dependencies, before every release (fetches the advisory database, or fails)
	$(CARGO_TOOLS)/bin/cargo-deny check advisories

.PHONY: mutants
mutants: toolchain $(CARGO_TOOLS)/bin/cargo-mutants ## Mutation tests of verdict, death and retry (an hour and more)
	env -u CARGO_TARGET_DIR $(CARGO_TOOLS)/bin/cargo-mutants mutants --output $(PEON_CACHE)/run

.PHONY: generate
generate: ## Write the CRDs from the Rust types
	@cargo run --quiet --bin generate

.PHONY: picture
picture: ## Draw docs/overview.svg from docs/overview.txt
	@./scripts/picture.sh docs/overview.txt > docs/overview.svg

.PHONY: image
image: ## Build the operator's image with docker (IMAGE=name BASE=base)
	program=$$(scripts/release/build.sh peon-operator) && \
		docker build --build-arg BASE=$(BASE) --tag $(IMAGE) --file Dockerfile "$$(dirname "$$program")"

.PHONY: reproducible
reproducible: toolchain ## Build the programs of the last commit twice, in different folders, and compare them (half an hour)
	@scripts/release/twice.sh

.PHONY: tools
tools: build ## Install what the test cluster needs: Debian packages, Kubernetes programs
ifneq ($(CLUSTER),current)
	@$(E2E) tools >/dev/null
endif

.PHONY: build
build: toolchain
	@echo "building (several minutes the first time) …"
	@cargo build --quiet --workspace

.PHONY: toolchain
toolchain:
	@./scripts/toolchain.sh

.PHONY: cluster-up
cluster-up: tools ## Start the test cluster and leave it running
	@$(E2E) up

.PHONY: cluster-down
cluster-down: build ## End the test cluster and remove everything it made
	@$(E2E) --wait down

$(CARGO_TOOLS)/bin/cargo-deny:
	@echo "installing cargo-deny $(CARGO_DENY_VERSION) (some minutes, once) …"
	@cargo install --quiet --locked --root $(CARGO_TOOLS) --target-dir $(PEON_CACHE)/target-tools --version $(CARGO_DENY_VERSION) cargo-deny

$(CARGO_TOOLS)/bin/cargo-mutants:
	@echo "installing cargo-mutants $(CARGO_MUTANTS_VERSION) (some minutes, once) …"
	@cargo install --quiet --locked --root $(CARGO_TOOLS) --target-dir $(PEON_CACHE)/target-tools --version $(CARGO_MUTANTS_VERSION) cargo-mutants
