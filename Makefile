# Everything here does its own set-up: a virtual environment in .venv with the versions of constraints.txt.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
TORCH  := $(VENV)/.torch
JOBS   ?= 2
# What of the clusters is to be tested: `required` is all of them, `there` those that this machine has.
ENGINES ?= required

.PHONY: help setup test test-all test-lowest test-engines lint format bench demo clean

help:
	@echo "make demo      agents, a trainer and a frontier on examples/tinygpt, in ./demo"
	@echo "make test      the tests (test-all: the slow ones too; test-lowest: oldest versions)"
	@echo "make test-engines  one suite on this machine, a Ray cluster and a Slurm, which it starts (apt-get install slurm-wlm munge)"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make bench     measure against git and others, write benchmarks/RESULTS.md (CORPUS=REPO[:PATHS]: real edits)"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("dagstore needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(TORCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	touch $@

setup: $(STAMP)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not engines"

test-all: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -m "not engines"

# Ray is large and Slurm not Python's, so neither is a part of `dev`. One process: the clusters are shared by the tests.
test-engines: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-engines.txt -e '.[dev,ray,slurm]'
	DAG_TEST_ENGINES=$(ENGINES) $(BIN)/python -m pytest -m engines

# The oldest versions that pyproject.toml allows, in an environment of their own.
test-lowest:
	test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -n $(JOBS) -m "not slow and not engines"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# pygit2 and optuna are references to measure against, and nothing that is shipped needs them. CORPUS names a local git
# repository whose edits of the same versions of files are adopted two by two.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pygit2 optuna
	$(BIN)/python benchmarks/run.py $(if $(CORPUS),--corpus $(CORPUS))

demo: $(TORCH)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh demo

clean:
	rm -rf $(VENV) $(VENV)-lowest demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
