# `make` lists the targets. Set-up happens once a lock file and needs nothing but a Python with venv.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$name; break; }; done)
# The generator and the floor versions have no wheels for 3.14 and later.
OLDER_PYTHON ?= $(shell for name in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && { echo $$name; break; }; done)
KILLS ?= 25
SEQUENCES ?= 2000
CUTS ?= 100
CALLS ?= 20000
ENTRIES ?= 10000000
WORKERS ?= 2
MODEL ?= claude-opus-4-5

# Files stay whole, for what their tests share; the order is that of tests/conftest.py, the longest first.
SPREAD = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

VENV := .venv
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
GENERATOR := .venv-gen/.ready
FLOOR := .venv-floor/.ready
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input
LOCKED := --require-hashes --only-binary :all: -r
# The project itself, without looking at an index: its build backend came with the lock.
ITSELF := --no-deps --no-build-isolation --no-index -e .
COMPILE = $(VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	--emit-build-options --no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help run serve test check check-format check-lint check-types check-layers check-contract check-generated bench bench-day bench-savings bench-stats bench-endurance docs floor \
	torture-ledger mixed-run fuzz-ledger power-cuts coverage lock proto clean need-python need-older-python need-git

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUNTIME) ## Set up, then run the demo pipeline twice against the emulator (REAL=1: against a real provider, asks first)
	@$(VENV)/bin/python examples/run.py $(if $(REAL),--real)

serve: $(RUNTIME) ## Run the daemon in the foreground on its default paths
	@$(VENV)/bin/aigend serve

test: need-git $(DEV) ## Run all tests (KILLS=25, WORKERS=2, ARGS=...)
	KILLS=$(KILLS) $(VENV)/bin/python -m pytest $(SPREAD) $(ARGS)

check: check-format check-lint check-types check-layers check-contract check-generated ## Format, lint, types, layers, contract, generated code

check-format: $(DEV)
	$(VENV)/bin/ruff format --check .
check-lint: $(DEV)
	$(VENV)/bin/ruff check .
check-types: $(DEV)
	$(VENV)/bin/mypy
check-layers: $(DEV)
	$(VENV)/bin/lint-imports --no-logo
check-contract: $(DEV)
	$(VENV)/bin/python proto/lint.py
check-generated: $(GENERATOR)
	.venv-gen/bin/python proto/generate.py --check

bench: $(DEV) ## Measure the hot path, the miss path, memory and start beside a raw echo
	@$(VENV)/bin/python -m benchmarks

bench-day: $(DEV) ## Bill one day of pipelines and services with and without aigen, by cause (ARGS=...)
	@$(VENV)/bin/python -m benchmarks.day $(ARGS)

bench-savings: $(DEV) ## Replay a trace and print its bill under every way to use prompt caches (TRACE=path, MODEL=claude-opus-4-5)
	@test -n "$(TRACE)" || { echo "TRACE is missing: make bench-savings TRACE=path MODEL=$(MODEL)"; exit 2; }
	@$(VENV)/bin/python -m benchmarks.savings "$(TRACE)" --model $(MODEL)

bench-stats: $(DEV) ## Measure GetStats over a ledger of 1,000,000 entries (ARGS=...)
	@$(VENV)/bin/python -m benchmarks.stats $(ARGS)

bench-endurance: $(DEV) ## Measure bookkeeping and start of a ledger of ENTRIES=10000000 entries (ARGS=...)
	@$(VENV)/bin/python -m benchmarks.endurance --entries $(ENTRIES) $(ARGS)

docs: need-git $(DEV) ## Check that the documentation is true: commands, settings, errors, links, examples
	$(VENV)/bin/python -m pytest -q tests/house/test_documents.py tests/house/test_document_examples.py tests/house/test_errors_page.py

floor: need-git $(FLOOR) ## Run the tests on the oldest grpcio and protobuf that are allowed
	KILLS=1 .venv-floor/bin/python -m pytest -q $(SPREAD) -p no:cacheprovider -m "not not_on_floor" $(or $(ARGS),tests/client tests/daemon/rpc tests/e2e) $(REPORT)

torture-ledger: $(DEV) ## Kill the daemon KILLS=1000 times under load and compare its ledger with the truth
	@$(VENV)/bin/python -m tests.torture.daemon_kills --kills $(if $(filter command line environment,$(origin KILLS)),$(KILLS),1000)

mixed-run: $(DEV) ## Make CALLS=20000 calls of every kind, with faults, and compare every sum of money with every other (SEED=...)
	@$(VENV)/bin/python -m tests.torture.mixed_run --calls $(CALLS) $(if $(SEED),--seed $(SEED))

fuzz-ledger: $(DEV) ## Compare the ledger with a model over SEQUENCES=2000 random sequences with crashes (SEED=...)
	@$(VENV)/bin/python -m tests.daemon.ledger.ledger_machine --sequences $(SEQUENCES) $(if $(SEED),--seed $(SEED))

power-cuts: $(DEV) ## Cut the power of the ledger's writer CUTS=100 times and look for what it had acknowledged (SEED=...)
	@$(VENV)/bin/python -m tests.torture.power_cut --cuts $(CUTS) $(if $(SEED),--seed $(SEED))

coverage: need-git $(DEV) ## Run all tests and show branch coverage of each package
	KILLS=$(KILLS) $(VENV)/bin/python -m pytest $(SPREAD) --cov --cov-report= $(ARGS)
	$(VENV)/bin/python .ci/coverage_by_package.py

lock: $(DEV) ## Bring the lock files up to date with pyproject.toml (UPGRADE=1: newest versions)
	$(COMPILE) pyproject.toml --extra all --group dev -o locks/dev.txt
	$(COMPILE) pyproject.toml --extra all --group build -c locks/dev.txt -o locks/runtime.txt
	$(COMPILE) pyproject.toml --extra all --group build --group test --group floor -o locks/floor.txt
	$(COMPILE) --group generator -o locks/generator.txt

proto: $(GENERATOR) ## Generate client/aigen/v1 from the .proto files
	.venv-gen/bin/python proto/generate.py

clean: ## Remove environments, caches and build results
	rm -rf .venv .venv-gen .venv-floor .venv-3.* build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find client daemon cli emulator tests examples benchmarks proto -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python: | need-python
	@echo "Setting up $(VENV) with $$($(PYTHON) -V); this happens once."
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): locks/runtime.txt pyproject.toml | $(VENV)/bin/python
	@$(VENV)/bin/python $(PIP_INSTALL) $(LOCKED) locks/runtime.txt
	@$(VENV)/bin/python $(PIP_INSTALL) $(ITSELF)
	@touch $@

$(DEV): locks/dev.txt $(RUNTIME)
	@$(VENV)/bin/python $(PIP_INSTALL) $(LOCKED) locks/dev.txt
	@touch $@

$(GENERATOR): locks/generator.txt | need-older-python
	@test -x .venv-gen/bin/python || $(OLDER_PYTHON) -m venv .venv-gen
	@.venv-gen/bin/python $(PIP_INSTALL) $(LOCKED) locks/generator.txt
	@touch $@

$(FLOOR): locks/floor.txt pyproject.toml | need-older-python
	@test -x .venv-floor/bin/python || $(OLDER_PYTHON) -m venv .venv-floor
	@.venv-floor/bin/python $(PIP_INSTALL) $(LOCKED) locks/floor.txt
	@.venv-floor/bin/python $(PIP_INSTALL) $(ITSELF)
	@touch $@

need-python:
	@test -n "$(PYTHON)" || { echo "Missing: Python 3.11 or newer (Debian, Ubuntu: python3; or name one with PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is too old or missing; Python 3.11 or newer is needed (Debian, Ubuntu: python3)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Missing: venv for $$($(PYTHON) -V) (Debian, Ubuntu: python3-venv)"; exit 1; }

need-older-python: | need-python
	@test -n "$(OLDER_PYTHON)" || { echo "Missing: Python 3.11, 3.12 or 3.13; the generator and the floor versions have no wheels for newer ones"; exit 1; }

need-git:
	@command -v git >/dev/null || { echo "Missing: git, which tells the house tests what belongs to the project (Debian, Ubuntu: git)"; exit 1; }
