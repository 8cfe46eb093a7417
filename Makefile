# Two commands set everything up: make serve, make test. The first call installs what is needed; later calls are quick.

PYTHON ?= python3
VENV ?= .venv
# Each stamp stands for one set of installed dependencies. It is remade when pyproject.toml changes.
BASE := $(VENV)/.base
TEST := $(VENV)/.test
DEV := $(VENV)/.dev
SCHEMA = $(VENV)/bin/check-jsonschema -q --builtin-schema
# Tests also wait for servers and browsers, so three processes keep two cores busy.
PARALLEL = -n $(or $(JOBS),3) --dist loadscope --no-loadscope-reorder
# On a terminal pip shows its progress. Elsewhere it says nothing unless it fails.
PIP_INSTALL = $(VENV)/bin/python -m pip install $(shell test -t 2 || echo -q)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of processes, which would all compile our code again.
unexport PYTHONDONTWRITEBYTECODE

# These tests are long, and importing Ray takes each process seconds.
WITHOUT_RAY = --ignore tests/app/cli/test_bulk.py --ignore tests/deploy/test_ray_serve.py

.DEFAULT_GOAL := help
.PHONY: help serve test-fast test test-long coverage check format lock screenshots fuzz soak bench bench-check bench-startup bench-networks \
	bench-pictures bench-explain bench-fairness bench-growth bench-proxies bench-cuda capacity kubernetes ray clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

serve: $(BASE)  ## install the service and start it on http://127.0.0.1:8000 (DIGITS_HOST, DIGITS_PORT)
	@exec $(VENV)/bin/python -m app serve

test-fast: $(TEST)  ## run the quick tests of the service, without torch
	@$(VENV)/bin/python -m pytest tests/app $(PARALLEL) $(WITHOUT_RAY) -m "not slow and not long and not serial and not browser and not fuzz"

# Each file runs in one process, in the order of the collection. Tests that measure times run alone afterwards.
TOGETHER = $(PARALLEL) $(WITHOUT_RAY) -m "not serial and not long"
ALONE = $(WITHOUT_RAY) -m "serial and not long" tests/app tests/deploy
test: $(DEV)  ## run all tests but the long ones (JOBS=3 processes at a time)
	@$(VENV)/bin/python -m pytest $(TOGETHER)
	@$(VENV)/bin/python -m pytest $(ALONE)

test-long: $(DEV)  ## run the tests that take half a minute or more: pods (need root, podman, runc, buildah, haproxy), Ray
	@$(VENV)/bin/python -m pytest -m long

coverage: $(DEV)  ## run the tests of make test, and measure branch coverage, including that of the processes they start
	@$(VENV)/bin/python -m pytest $(TOGETHER) --cov --cov-report= --cov-fail-under=0
	@$(VENV)/bin/python -m pytest $(ALONE) --cov --cov-append --cov-report=term-missing

check: $(DEV)  ## run ruff, mypy, import-linter, hadolint, schema checks, and an audit for known vulnerabilities
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache
	@$(VENV)/bin/hadolint --failure-threshold style Dockerfile deploy/kubernetes/model.Dockerfile
	@$(SCHEMA) vendor.github-workflows .github/workflows/ci.yml
	@$(SCHEMA) vendor.dependabot .github/dependabot.yml
	@$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	@$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(VENV)/bin/python -m supply.audit

format: $(DEV)  ## format the code and fix what ruff can fix
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

# Releases of the last week are skipped: a release that was tampered with is usually found and withdrawn within days.
COMPILE = $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --exclude-newer '7 days' \
	--custom-compile-command 'make lock' $(FLAGS)

lock: $(DEV)  ## update the lock files of the image, keeping versions that still fit (FLAGS=--upgrade for the newest)
	@$(COMPILE) pyproject.toml -o supply/requirements.txt
	@$(COMPILE) pyproject.toml --extra client -c supply/requirements.txt -o supply/requirements-client.txt
	@$(COMPILE) pyproject.toml --extra torch -c supply/requirements.txt -o supply/requirements-torch.txt
	@$(COMPILE) pyproject.toml --extra otel -c supply/requirements.txt -o supply/requirements-otel.txt
	@$(COMPILE) pyproject.toml --extra heic -c supply/requirements.txt -o supply/requirements-heic.txt
	@$(COMPILE) pyproject.toml --extra ray -c supply/requirements.txt -o supply/requirements-ray.txt
	@$(COMPILE) --group build -o supply/requirements-build.txt

screenshots: $(DEV)  ## redraw the pictures of the documents, and retake the screenshots (needs Chromium)
	@$(VENV)/bin/python -m tests.support.example_pictures
	@$(VENV)/bin/python -m tests.support.screenshots

fuzz: $(DEV)  ## send random input for a minute (SECONDS=, SEED=)
	@$(VENV)/bin/python -m benchmarks.fuzz --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

soak: $(DEV)  ## overload it, kill workers, swap models, send a million requests: a quarter of an hour
	@$(VENV)/bin/python -m benchmarks.overload
	@$(VENV)/bin/python -m benchmarks.faults
	@$(VENV)/bin/python -m benchmarks.soak --plot docs/images/soak.png

bench: $(DEV)  ## compare digitserve with other servers (installs them: 7 GB; needs wrk and MNIST)
	@$(VENV)/bin/python -m benchmarks.servers

bench-check: $(DEV)  ## check whether it has become slower, in five minutes: ratios to servers that do not change
	@$(VENV)/bin/python -m benchmarks.check

bench-startup: $(BASE)  ## measure cold start and resident memory
	@$(VENV)/bin/python -m benchmarks.startup

bench-networks: $(BASE)  ## measure the time per picture, by network and batch size
	@$(VENV)/bin/python -m benchmarks.networks

bench-pictures: $(DEV)  ## measure accuracy on synthetic photographs, scans and numbers (needs MNIST)
	@$(VENV)/bin/python -m benchmarks.pictures

bench-explain: $(DEV)  ## measure how faithful the maps of /explain are, and what they cost (needs MNIST)
	@$(VENV)/bin/python -m benchmarks.explain

bench-fairness: $(DEV)  ## measure how long a digit waits while others keep the service busy
	@$(VENV)/bin/python -m benchmarks.fairness

bench-growth: $(DEV)  ## measure how cost grows with connections and digits per request (needs wrk and MNIST)
	@$(VENV)/bin/python -m benchmarks.growth

bench-proxies: $(DEV)  ## send pictures, and attempts to smuggle requests, through nginx, HAProxy and Caddy
	@$(VENV)/bin/python -m benchmarks.proxies

bench-cuda: $(DEV)  ## measure the torch engine and the service on a CUDA device
	@$(VENV)/bin/python -m benchmarks.cuda

capacity: $(DEV)  ## measure a process, check the simulation against it, and print sizes (needs HAProxy and MNIST)
	@$(VENV)/bin/python -m benchmarks.capacity measure
	@$(VENV)/bin/python -m benchmarks.capacity check
	@$(VENV)/bin/python -m benchmarks.capacity size

kubernetes: $(DEV)  ## check the Kubernetes manifests, and run them as pods that are killed, drained and rolled under load
	@$(VENV)/bin/python -m pytest tests/deploy/kubernetes
	@$(VENV)/bin/python -m benchmarks.failover

ray: $(DEV)  ## check bulk reading and Ray Serve on a real cluster, and kill one of its machines (COUNT=100000)
	@$(VENV)/bin/python -m pytest tests/app/cli/test_bulk.py tests/deploy/test_ray_serve.py
	@$(VENV)/bin/python -m benchmarks.bulk
	@$(VENV)/bin/python -m benchmarks.bulk --kill --count $(or $(COUNT),100000)

clean:  ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info .coverage

$(VENV)/bin/python:
	@echo "==> Creating the virtual environment $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "digitserve needs Python 3.11 or newer. Name one: make PYTHON=python3.13 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml | $(VENV)/bin/python
	@echo "==> Installing the service into $(VENV) (about 400 MB)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(TEST): pyproject.toml | $(VENV)/bin/python
	@echo "==> Installing the service and its test tools into $(VENV) (about 450 MB)"
	@$(PIP_INSTALL) -e '.[test]'
	@touch $@ $(BASE)

# torch and torchvision in one call, so that pip selects versions that fit together.
$(DEV): pyproject.toml | $(VENV)/bin/python
	@echo "==> Installing the training and development tools into $(VENV) (up to 7 GB, most of it torch)"
	@$(PIP_INSTALL) -e '.[torch,train,dev]'
	@touch $@ $(BASE) $(TEST)
