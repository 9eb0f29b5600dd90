# Pli: each target makes what it needs from nothing but python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo check test bench stress bench-mls interop fuzz format clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' Makefile

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Pli needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "Making the environment in $(VENV) (once, about a minute)…" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,socks,dev]'
	@touch $(READY)

demo: $(READY) ## a care team's hand-over on a real relay, sealed end to end (under a minute)
	@$(BIN)/pli demo

check: $(READY) ## format, lint, types, import directions (no tests)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 protocol/pli_protocol client/pli_client
	$(BIN)/lint-imports

test: $(READY) ## all tests that need only python3 and make
	$(BIN)/python -m pytest

bench: $(READY) ## the benchmarks of docs/benchmarks.md
	$(BIN)/python -m tests.bench

stress: $(READY) ## hostile clients of all kinds beside an honest pair (about ten minutes)
	$(BIN)/python -m tests.bench.stress

bench-mls: $(READY) ## MLS beside mls-rs and the primitives, as docs/benchmarks.md has it
	$(BIN)/python -m tests.bench.mls $(BENCH)

interop: $(READY) ## 200 random scenarios of ours with mls-rs, and ours with ours
	$(BIN)/python -m tests.interop

FUZZ_SECONDS ?= 60
FUZZ_EXAMPLES ?= 200
fuzz: $(READY) ## bad input for every decoder (FUZZ_SECONDS=60 each), then random groups (FUZZ_EXAMPLES=200)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --corpus .fuzz
	PLI_MACHINE_EXAMPLES=$(FUZZ_EXAMPLES) PLI_MACHINE_STEPS=60 $(BIN)/python -m pytest tests/protocol/mls/test_group_machine.py

format: $(READY) ## put the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .fuzz .import_linter_cache
