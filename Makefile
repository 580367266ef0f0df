# The habits. `make setup` needs nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup check test bench docs

setup: $(VENV)/ready

# torch first: with it in place nothing that depends on it fetches the build with CUDA.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

test: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/inference.py networks
	$(BIN)/python benchmarks/inference.py pipeline
	$(BIN)/python benchmarks/inference.py memory
	$(BIN)/python benchmarks/inference.py megapixels

docs: setup
	$(BIN)/python docs/generate.py
