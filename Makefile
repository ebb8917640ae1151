# One entry for people and CI alike. Every target makes its own .venv when there is none: a machine with
# Python 3.11 or later and make is enough.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test unit lint format bench fuzz soak clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skycap needs Python 3.11 or later; say which with: make PYTHON=python3.12" >&2; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "installing skycap into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "installing skycap and what its tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	@echo "installing skycap and what its benchmarks need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## run the demo; CHECK=1 asserts every step and stops
	@$(BIN)/skycap demo $(if $(CHECK),--check)

test: $(VENV)/.test ## run all tests, on all cores
	@$(BIN)/python -m pytest -n auto $(ARGS)

unit: $(VENV)/.test ## run the quick tests: no acceptance, no conformance, no namespaces
	@$(BIN)/python -m pytest -n auto tests/proxy tests/controlplane tests/benchmarks $(ARGS)

lint: $(VENV)/.test ## style, types and the direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.test ## rewrite the sources in the common style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench ## measure side by side with Envoy, HAProxy and nginx
	@$(BIN)/python -m benchmarks --install $(ARGS)

fuzz: $(VENV)/.test ## fuzz the parsers for half an hour; ARGS="TARGET --seconds 60" for less
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.test ## run everything at once for half an hour and judge what is left; ARGS="--minutes 2" for less
	@$(BIN)/python -m tests.soak $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist build
