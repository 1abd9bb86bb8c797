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
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

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

