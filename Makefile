# Everything a newcomer types: `make demo`, `make test`. Both set up what they need under .venv/ and target/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name 'Cargo.toml')
PEOPLE ?= 200000
DEMO ?= demo-run
KILLS ?= 100000
FRESH ?= 1000
SEED ?=
BENCH_INSTALLED := $(VENV)/.installed-bench
BENCH_FOLDER ?= $(or $(TMPDIR),/tmp)
BENCH_RESULTS ?= bench-results
# The plan of the country needs all its schools; what is shipped are those of two provinces.
SCHOOLS ?= ../shared/data/schools_npsn_2019.parquet
REGIONS ?= ../shared/data/regions_2019.csv.gz

.PHONY: help setup demo test soak lint bench bench-national clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    two cities, 200,000 people, two weeks (PEOPLE=5000 for a short one; folder DEMO=$(DEMO))"
	@echo "make test    all tests, Rust and Python"
	@echo "make soak    100,000 kills of appliers at named points, 1,000 of fresh processes; prints seeds, some hours (KILLS=, FRESH=, SEED=)"
	@echo "make lint    formatting, lints, types"
	@echo "make bench   benchmarks in three minutes: one million rows beside DuckDB and Polars, entry points, kernels"
	@echo "make bench-national   the same at 50 million rows, names for 10 million people, the plan of 57 million; two hours and a half"
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
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

# Ends with an error on any violation; a seed makes a swarm again.
soak: $(INSTALLED)
	$(BIN)/python tests/soak.py --kills $(KILLS) --fresh $(FRESH) $(if $(SEED),--seed $(SEED))

lint: $(INSTALLED)
	cargo fmt --all --check
	cargo clippy --release --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest belajarid_recon._core

$(BENCH_INSTALLED): $(INSTALLED) requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-bench.lock
	@touch $@

bench: $(BENCH_INSTALLED)
	@mkdir -p $(BENCH_RESULTS)
	$(BIN)/python -m belajarid_recon.bench --keys 1000000 --rounds 3 --folder $(BENCH_FOLDER) --json $(BENCH_RESULTS)/quick.json
	$(BIN)/python -m pytest benches --quiet --benchmark-columns=median,iqr,rounds --benchmark-json=$(BENCH_RESULTS)/entry-points.json
	cargo bench --quiet --package recon-bench --features criterion -- --quick --noplot

# Pairs of 1 and 50 million keys show the growth. Each step checks the disk, makes its own tables and removes them.
bench-national: $(BENCH_INSTALLED)
	@mkdir -p $(BENCH_RESULTS)
	$(BIN)/python -m belajarid_recon.bench --keys 1000000,10000000,50000000 --rounds 3 --folder $(BENCH_FOLDER) --json $(BENCH_RESULTS)/national.json
	$(BIN)/python benches/allocate.py --people 10000000 --taken 50000000 --folder $(BENCH_FOLDER)
	$(BIN)/python benches/plan.py --people 57000000 --parts 128 --schools $(SCHOOLS) --regions-file $(REGIONS) --folder $(BENCH_FOLDER) --json $(BENCH_RESULTS)/plan.json

clean:
	rm -rf $(VENV) target $(DEMO) $(BENCH_RESULTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
