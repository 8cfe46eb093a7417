# Two commands do all the set-up: make serve, make test. Each tells what it does; a second call starts in seconds.

PYTHON ?= python3
VENV ?= .venv
# The stamps say which part of the set-up is there; they are remade when the dependencies change.
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help serve test coverage check format bench bench-startup bench-networks bench-pictures bench-fairness bench-growth clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/bin/python:
	@echo "==> Making the virtual environment $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "digitserve needs Python 3.11 or newer; name one: make PYTHON=python3.13 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml | $(VENV)/bin/python
	@echo "==> Installing what serving needs into $(VENV) (about 250 MB)"
	@$(VENV)/bin/python -m pip install -q -e .
	@touch $@

# torch and torchvision in one call, so that pip chooses a pair that fits.
$(DEV): pyproject.toml | $(VENV)/bin/python
	@echo "==> Installing what training and testing need into $(VENV) (with torch: up to 5.5 GB, see README)"
	@$(VENV)/bin/python -m pip install -q -e '.[torch,train,dev]'
	@touch $@ $(BASE)

serve: $(BASE)  ## install what is needed, and serve on http://127.0.0.1:8000 (DIGITS_HOST, DIGITS_PORT)
	@exec $(VENV)/bin/python -m app serve

test: $(DEV)  ## install everything, and run the whole test suite
	@$(VENV)/bin/python -m pytest

coverage: $(DEV)  ## the test suite with branch coverage, the processes that it starts included
	@$(VENV)/bin/python -m pytest --cov --cov-report=term-missing

check: $(DEV)  ## ruff, mypy strict, import-linter
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

format: $(DEV)  ## put the formatting right
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

bench: $(DEV)  ## measure this and other servers side by side (installs them: 7 GB; needs wrk and MNIST)
	@$(VENV)/bin/python -m benchmarks.servers

bench-startup: $(BASE)  ## measure cold start and resident memory, as the README gives them
	@$(VENV)/bin/python -m benchmarks.startup

bench-networks: $(BASE)  ## measure what a picture costs, by network and batch
	@$(VENV)/bin/python -m benchmarks.networks

bench-pictures: $(DEV)  ## measure how photographs, scans and whole numbers are read (needs MNIST: DIGITS_DATA_DIR)
	@$(VENV)/bin/python -m benchmarks.pictures

bench-fairness: $(DEV)  ## measure how long a digit waits while others keep the service busy
	@$(VENV)/bin/python -m benchmarks.fairness

bench-growth: $(DEV)  ## measure how cost grows with connections and digits a request (needs wrk and MNIST)
	@$(VENV)/bin/python -m benchmarks.linear

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info .coverage
