# `make demo` and `make test` do everything on a bare machine with Python 3.11 or later.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?= main
PYTEST_FLAGS ?=

.PHONY: help setup demo test lint bench clean

help:
	@echo "make demo            set up, train a small network, quantize it, show the result"
	@echo "make test            set up, lint, run all tests"
	@echo "make lint            ruff, mypy --strict, import-linter"
	@echo "make bench BENCH=... run a benchmark (needs the benchmark assets) and rewrite its table"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	touch $@

setup: $(VENV)/.installed

demo: setup
	$(BIN)/sigmaquant demo --out sigmaquant-demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

bench: setup
	$(BIN)/python -m benchmarks.$(BENCH)
	$(BIN)/python -m benchmarks.tables

clean:
	rm -rf $(VENV) sigmaquant-demo
