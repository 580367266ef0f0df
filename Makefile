# The habits. Nothing is needed but Python 3.11 or newer; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LIGHT = .venv-light/bin
WEIGHTS = ../shared/data/weights
GOLDEN = src/mindface/golden

.PHONY: help setup demo check test bench docs

help:
	@echo "make demo    install MindFace and run it on two portraits"
	@echo "make test    install what the tests need and run them"
	@echo "make check   lint, types, import contracts"
	@echo "make docs    write the pages that are made from the code"
	@echo "make bench   measure (minutes; docs/benchmarks.md)"

setup: $(VENV)/ready

# torch first: with it in place nothing that depends on it fetches the build with CUDA.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo:
	$(PYTHON) -m venv .venv-light
	$(LIGHT)/pip install --quiet .
	$(LIGHT)/mindface detect $(GOLDEN) --draw build/drawn
	$(LIGHT)/mindface verify $(GOLDEN)/eileen_collins.jpg $(GOLDEN)/grace_hopper.jpg

# Two weights of ../shared, for the benchmarks.
build/detector.onnx: | $(VENV)/ready
	$(BIN)/mindface export retinaface_mobilenet025 --output $@ --licence MIT \
		--weights $(WEIGHTS)/retinaface_mobilenet025.pth

build/recognizer.onnx: | $(VENV)/ready
	$(BIN)/mindface export mobilefacenet_112x96 --output $@ \
		--weights $(WEIGHTS)/mobilefacenet_casia_112x96.pth

test: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/generate_catalogue.py
	$(BIN)/python docs/generate_training.py

bench: setup build/detector.onnx build/recognizer.onnx
	$(BIN)/python benchmarks/inference.py networks
	$(BIN)/python benchmarks/inference.py pipeline
	$(BIN)/python benchmarks/inference.py stages
	$(BIN)/python benchmarks/inference.py start
	$(BIN)/python benchmarks/inference.py memory
	$(BIN)/python benchmarks/inference.py megapixels
