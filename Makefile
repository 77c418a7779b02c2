# Everything a newcomer types: `make demo`, `make test`. Both set up what they need under .venv/ and target/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name 'Cargo.toml')
PEOPLE ?= 200000
DEMO ?= demo-run

.PHONY: help setup demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    two cities, 200,000 people, two weeks (PEOPLE=5000 for a short one; folder DEMO=$(DEMO))"
	@echo "make test    all tests, Rust and Python"
	@echo "make lint    formatting, lints, types"
	@echo "make bench   benchmarks of the Rust core against polars"
	@echo "make clean   remove what the targets above made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python requirements.lock pyproject.toml $(RUST)
	@command -v cargo >/dev/null || \
	  { echo "Rust is missing. Type: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" PIP_QUIET=1 $(BIN)/maturin develop --release --quiet --extras emulator
	@touch $@

setup: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/belajarid-recon demo --people $(PEOPLE) --folder $(DEMO) --replace

test: $(INSTALLED)
	cargo test --release --quiet --workspace
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	cargo fmt --all --check
	cargo clippy --release --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest belajarid_recon._core

bench: $(INSTALLED)
	$(BIN)/python benches/core.py

clean:
	rm -rf $(VENV) target $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
