# Two commands do all the set-up: make serve, make test. Each tells what it does; a second call starts in seconds.

PYTHON ?= python3
VENV ?= .venv
# The stamps say which part of the set-up is there; they are remade when the dependencies change.
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help serve test coverage check format bench bench-startup bench-networks bench-pictures bench-fairness bench-growth bench-explain soak lock fuzz clean

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

check: $(DEV)  ## ruff, mypy strict, import-linter, hadolint, known vulnerabilities of what is locked
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache
	@$(VENV)/bin/hadolint --failure-threshold style Dockerfile
	@$(VENV)/bin/python -m supply.audit

format: $(DEV)  ## put the formatting right
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

# Releases of the last week are passed over: one that was tampered with is mostly found and withdrawn in that time.
COMPILE = $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --exclude-newer '7 days' \
	--custom-compile-command 'make lock' $(FLAGS)

soak: $(DEV)  ## overload it, kill workers, swap models, send a million requests: a quarter of an hour
	@$(VENV)/bin/python -m benchmarks.overload
	@$(VENV)/bin/python -m benchmarks.faults
	@$(VENV)/bin/python -m benchmarks.soak --plot docs/images/soak.png

lock: $(DEV)  ## lock what the image installs, keeping the versions that fit (FLAGS=--upgrade for newer ones)
	@$(COMPILE) pyproject.toml -o supply/requirements.txt
	@$(COMPILE) pyproject.toml --extra torch -c supply/requirements.txt -o supply/requirements-torch.txt
	@$(COMPILE) pyproject.toml --extra otel -c supply/requirements.txt -o supply/requirements-otel.txt
	@$(COMPILE) --group build -o supply/requirements-build.txt

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

bench-explain: $(DEV)  ## measure what /explain's maps are worth, beside controls, and what one costs (needs MNIST)
	@$(VENV)/bin/python -m benchmarks.explain

fuzz: $(DEV)  ## look for a minute for inputs that do harm (SECONDS=, SEED=)
	@$(VENV)/bin/python -m benchmarks.fuzz --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info .coverage
