# Python 3.11 or newer and make are all that these need; the first call makes .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
REPRODUCE := -m leukemia_lab.reproduce study.budget=cpu output=docs launcher=joblib launcher.n_jobs=2

.PHONY: help setup demo reproduce check-results test test-slow test-gpu check format bench

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## make .venv with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): PyTorch and what goes with it, some gigabytes, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/ready-*
	@touch $@

demo: $(READY) ## draw synthetic cells, train SimpleCNN, evaluate it on the test part, report it
	@$(BIN)/python -m leukemia_lab.train experiment=demo hydra.run.dir=runs/demo
	@$(BIN)/python -m leukemia_lab.evaluate run=runs/demo
	@$(BIN)/python -m leukemia_lab.report runs=runs/demo output=reports/demo

reproduce: $(READY) ## carry out all studies on synthetic data, write docs/results.md
	@OMP_NUM_THREADS=1 $(BIN)/python $(REPRODUCE)

check-results: $(READY) ## is docs/results.md what the studies give on this machine?
	@OMP_NUM_THREADS=1 $(BIN)/python $(REPRODUCE) check=true

test: $(READY) ## the fast tests on all cores, with coverage
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow and not gpu" --cov --cov-report=term:skip-covered --cov-fail-under=90

test-slow: $(READY) ## the tests that take longer
	@$(BIN)/python -m pytest -m "slow and not gpu"

test-gpu: $(READY) ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu

check: $(READY) ## lint, format, strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## the ratios of benchmarks/
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done
