# Each target does all its own set-up: a virtual environment in .venv, npm packages in a cache, system packages by apt
# where this machine lets us, else a line that says what to install.

PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

venv: .venv/.made  ## Make .venv with fab, inv and the test tools.

demo: venv  ## Deploy, break and save a local fleet under load (about 7 minutes); KEEP=1 leaves it up.
	$(BIN)/python -m tests.lab.demo $(if $(KEEP),--keep)

test: venv  ## Run the tests, those on the real fleet too (about 12 minutes).
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

explore: venv  ## Run the property tests with new random examples (about 2 minutes).
	EXAMPLES=random $(BIN)/python -m pytest -m hypothesis -n 2

long: venv  ## Run more deploys on the real fleet: more ways to be bad, to be interrupted, to leak a secret (about 12 minutes).
	$(BIN)/python -m pytest tests/lab -m long

operate: venv  ## Look at the real fleet, and touch it by hand, in every way there is (about 20 minutes).
	$(BIN)/python -m pytest tests/lab -m operate

faults: venv  ## Break the local fleet in every way we know, under load, and write docs/faults.md (about 50 minutes).
	rm -rf .faults
	MODEL_SEQUENCES=2000 $(BIN)/python -m pytest tests/model/test_model.py
	$(BIN)/python -m pytest tests/faults -m faults -n 2 --no-loadscope-reorder --basetemp .faults
	$(BIN)/python -m tests.faults.table .faults >docs/faults.md

docs: venv  ## Write the sample outputs of README and docs anew, from a run on a fleet of its own (about 6 minutes).
	$(BIN)/python -m tests.lab.samples

bench: venv  ## Measure a deploy beside others and write docs/speed.md (about 20 minutes); SIZES=1,10 RUNS=3 ONLY=gapless only print.
	$(BIN)/python -m tests.bench $(if $(SIZES)$(RUNS)$(ONLY),$(SIZES:%=--sizes %) $(RUNS:%=--runs %) $(ONLY:%=--only %),--many 300 --write docs)

check: venv  ## Lint and type-check.
	$(BIN)/ruff check .
	$(BIN)/mypy

lab: venv  ## Bring the local fleet up and leave it: fab ... --hosts lab
	$(BIN)/python -m tests.lab up

lab-down: venv  ## Take it down.
	$(BIN)/python -m tests.lab down

.PHONY: help venv demo test explore long operate faults docs bench check lab lab-down
