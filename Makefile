# One entry for people and CI alike. Every target makes its own .venv when there is none: a machine with
# Python 3.11 or later and make is enough.

PYTHON ?= python3
VENV   := .venv
BIN     = $(VENV)/bin
COMMA  := ,

# The unit tests: what decides. Hardly any of them starts a process.
UNIT   := $(addprefix tests/proxy/,base contract wire routing exchange telemetry) $(addprefix tests/controlplane/,model hops)
# What dependencies matter to: all but acceptance, conformance, namespaces, browsers.
BROAD  := tests/proxy tests/controlplane tests/benchmarks tests/project

# An editable installation is never compiled, `make compile` does that: no compiler is fetched to build it.
export SKYCAP_COMPILE ?= 0

# The versions that are installed. `make test CONSTRAINTS=` takes the newest that pyproject.toml allows instead.
CONSTRAINTS := constraints.txt
export PIP_CONSTRAINT       = $(CONSTRAINTS)
export PIP_BUILD_CONSTRAINT = $(CONSTRAINTS)

.PHONY: help demo test unit lint format coverage compile decompile constraints lowest bench fuzz soak clean cluster cluster-build cluster-down demo-kubernetes test-cluster
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# $(call install,REQUIREMENT,WHAT FOR): pip is silent for most of a minute, so that a line every five seconds says
# that it is still at work. What it has to say when it fails is shown.
install = echo "installing skycap$(2) into $(VENV); the first time takes about a minute"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -e '$(1)' & pip=$$!; \
	trap 'kill $$pip 2>/dev/null; exit 130' INT TERM; seconds=0; \
	while kill -0 $$pip 2>/dev/null; do \
		sleep 1; seconds=$$((seconds + 1)); \
		[ $$((seconds % 5)) -ne 0 ] || echo "  still installing, $$seconds s"; \
	done; \
	wait $$pip

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skycap needs Python 3.11 or later; say which with: make PYTHON=python3.12" >&2; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(call install,.)
	@touch $@

$(VENV)/.test: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(call install,.[test], and what its tests need)
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(call install,.[bench$(COMMA)compile], and what its benchmarks need)
	@touch $@ $(VENV)/.run $(VENV)/.compile

$(VENV)/.compile: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(call install,.[compile], and what compiles it)
	@touch $@ $(VENV)/.run

$(VENV)/.fuzz: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(call install,.[test$(COMMA)fuzz], its tests and the fuzzer)
	@touch $@ $(VENV)/.run $(VENV)/.test

# uv resolves for every Python at once, and the lowest versions too; pip does neither.
$(VENV)/.uv: | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@touch $@

demo: $(VENV)/.run ## run the demo; CHECK=1 asserts every step and stops
	@$(BIN)/skycap demo $(if $(CHECK),--check)

test: $(VENV)/.test ## run all tests, on all cores
	@echo "all tests: about 10 minutes on two cores; make unit runs the unit tests, in one,"
	@echo "and make test-cluster those that need a Kubernetes node: they are left out here"
	@$(BIN)/python -m pytest -n auto $(ARGS)

unit: $(VENV)/.test ## run the unit tests: under a minute on two cores
	@$(BIN)/python -m pytest -n auto $(UNIT) $(ARGS)

coverage: $(VENV)/.test ## every line and branch of wire, routing and exchange is run by its own tests
	@if [ "$$($(BIN)/python -c 'import proxy; print(proxy.BUILD)')" = compiled ]; then \
		echo "coverage: not counted, the data path is compiled; it belongs to the interpreted run"; \
	else \
		$(BIN)/python -m pytest -q -n auto tests/proxy/wire tests/proxy/routing tests/proxy/exchange --cov=proxy/wire \
			--cov=proxy/routing --cov=proxy/exchange --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered; \
	fi

compile: $(VENV)/.compile decompile ## compile the data path with mypyc, beside its sources; takes a C compiler and a minute
	@echo "compiling the data path: about a minute"
	@$(BIN)/python hatch_build.py
	@$(BIN)/skycap --version

decompile: ## back to the sources as they stand
	@rm -f skycap__mypyc.*.so proxy/*.manifest; find proxy -name '*.so' -delete

lint: $(VENV)/.test ## style, types and the direction of the imports
	@$(BIN)/python -c 'import proxy'  # refuses compiled modules that are not those of the sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

constraints lowest: CONSTRAINTS :=
constraints: $(VENV)/.uv ## renew constraints.txt: the newest versions that pyproject.toml allows
	@printf '%s\n' editables | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--all-extras --no-annotate --custom-compile-command "make constraints" -o constraints.txt pyproject.toml -

lowest: $(VENV)/.uv ## run most tests on Python 3.11 with the lowest versions that pyproject.toml allows
	@$(BIN)/uv venv --quiet --clear --seed --python 3.11 $(VENV)-lowest
	@$(BIN)/uv pip install --python $(VENV)-lowest/bin/python --resolution lowest-direct -e '.[test]'
	@$(VENV)-lowest/bin/python -m pytest -n auto $(BROAD) $(ARGS)

format: $(VENV)/.test ## rewrite the sources in the common style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cluster: $(VENV)/.test ## start a Kubernetes node on this machine, in namespaces of its own; the first time takes minutes
	@$(BIN)/python -m tests.kubernetes.cluster up

cluster-build: $(VENV)/.test ## only build what that needs
	@$(BIN)/python -m tests.kubernetes.cluster build

cluster-down: $(VENV)/.test ## stop it, and leave nothing of it
	@$(BIN)/python -m tests.kubernetes.cluster down

demo-kubernetes: $(VENV)/.test ## run the demo on such a node; CHECK=1 asserts every step and stops
	@$(BIN)/python -m tests.kubernetes.demo $(if $(CHECK),--check)

test-cluster: export SKYCAP_CLUSTER_COMPILED := 1
test-cluster: cluster-build ## run the tests that need it, on a node of their own
	@SKYCAP_REQUIRE_TOOLS=1 $(BIN)/python -m pytest tests/kubernetes $(ARGS)

bench: $(VENV)/.bench ## measure both builds side by side with Envoy, HAProxy and nginx
	@$(BIN)/python -m benchmarks --install $(ARGS)

fuzz: $(VENV)/.fuzz ## fuzz the parsers for half an hour; ARGS="TARGET --seconds 60" for less
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.test ## run everything at once for half an hour and judge what is left; ARGS="--minutes 2" for less
	@$(BIN)/python -m tests.soak $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) $(VENV)-* .builds .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist build
