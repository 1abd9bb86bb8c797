# Every command that anyone runs here; CI calls only these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A constraint holds in pip's build environments too, when it comes by the environment.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help
help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "relaywatch needs Python 3.11 or later; name one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/core.stamp

.PHONY: setup
setup: $(VENV)/dev.stamp ## Make the developers' environment in .venv

.PHONY: demo
demo: $(VENV)/core.stamp ## Set up, then show the whole loop on a loopback world (no root, no network)
	$(BIN)/relaywatch demo

.PHONY: lint
lint: setup ## Style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src tests docs README.md CONTRIBUTING.md SECURITY.md

.PHONY: fix
fix: setup ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: setup ## mypy, strict
	$(BIN)/mypy

.PHONY: imports
imports: setup ## Hold the layers
	$(BIN)/lint-imports

.PHONY: check
check: lint types imports ## Everything that needs no test run

# --- tests ---------------------------------------------------------------------------------------

# What the lab of real servers needs from Debian; the servers themselves go into its own roots.
LAB_PACKAGES := debootstrap debian-archive-keyring iproute2 util-linux nmap
PURE := model wire script probes rules
# Every test but the lab's runs in parallel; the lab is one world and takes its tests one by one.
PYTEST := $(BIN)/python -m pytest
COVERAGE := $(BIN)/coverage

$(VENV)/packages.stamp: Makefile | $(BIN)/python
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "make test: not root on Debian, so the lab of real servers (tests/interop) is left out" >&2; \
	else \
		want="$(LAB_PACKAGES)"; command -v npm >/dev/null || want="$$want npm"; \
		missing=; for name in $$want; do dpkg -s $$name >/dev/null 2>&1 || missing="$$missing $$name"; done; \
		if [ -n "$$missing" ]; then \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing; \
		fi; \
	fi
	@touch $@

.PHONY: test
test: $(VENV)/dev.stamp $(VENV)/packages.stamp ## Set up, then the whole suite with its gates (as root on Debian: the lab too)
	$(MAKE) --no-print-directory lint imports
	rm -f .coverage .coverage.*
	$(PYTEST) -n 2 --dist loadfile -m 'not interop and not long' --cov --cov-report=
	$(MAKE) --no-print-directory gates
	$(PYTEST) -m 'interop and not long' tests/interop

.PHONY: quick
quick: setup ## The suite without the lab and without coverage
	$(PYTEST) -n 2 --dist loadfile -m 'not interop and not long' -q

.PHONY: gates
gates: ## Coverage: every branch of the pure layers, nine tenths of the rest
	$(COVERAGE) report --fail-under=100 --include='$(foreach layer,$(PURE),src/relaywatch/$(layer)/*,)'
	$(COVERAGE) report --fail-under=90

.PHONY: lab
lab: $(VENV)/dev.stamp $(VENV)/packages.stamp ## Real mail servers and proxies in namespaces: prove each one's truth without our probes
	$(BIN)/python -m tests.interop.lab prove

.PHONY: compare
compare: $(VENV)/dev.stamp $(VENV)/packages.stamp ## The lab's servers as relaywatch and its peers (nmap's scripts, HOPM) find them, side by side
	$(BIN)/python -m tests.interop.compare
	$(BIN)/python -m tests.interop.compare_proxies

.PHONY: audit-agreement
audit-agreement: $(VENV)/dev.stamp $(VENV)/packages.stamp ## What the audit says of generated configurations, against what each running server does
	$(BIN)/python -m tests.interop.differential

# --- bench ---------------------------------------------------------------------------------------

BENCH_PACKAGES := gcc iproute2 libc6-dev nftables nmap

.PHONY: bench-packages
bench-packages:
	@missing=; for name in $(BENCH_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing; \
	fi

.PHONY: bench
bench: $(VENV)/dev.stamp bench-packages ## Side by side with nmap and a native reference, as root on a quiet machine; writes docs/performance.md
	$(BIN)/python -m bench.scan --write

.PHONY: bench-quick
bench-quick: $(VENV)/dev.stamp bench-packages ## The same with few targets, one run, and nothing written
	$(BIN)/python -m bench.scan --quick --targets 40

.PHONY: long
long: $(VENV)/dev.stamp $(VENV)/packages.stamp ## The long proofs
	$(PYTEST) -m long

.PHONY: deep
deep: setup ## Property tests with many examples
	HYPOTHESIS_PROFILE=deep $(PYTEST) -n 2 -m 'not interop' tests/model tests/wire tests/script tests/probes tests/rules

.PHONY: schema
schema: setup ## Write the JSON Schemas of the lines that commands write anew
	$(BIN)/relaywatch schema result > docs/reference/result.schema.json
	$(BIN)/relaywatch schema audit > docs/reference/audit.schema.json
	$(BIN)/relaywatch schema audit-proof > docs/reference/audit-proof.schema.json
	$(BIN)/relaywatch schema summary > docs/reference/summary.schema.json

.PHONY: docs
docs: schema ## Write the reference of the command line anew
	$(BIN)/python -m tests.qa.reference > docs/reference/commands.md

.PHONY: messages
messages: setup ## Compile the translations
	$(BIN)/pybabel -q compile -D relaywatch -d src/relaywatch/cli/locale

.PHONY: clean
clean: ## Remove what make made
	rm -rf $(VENV) .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
