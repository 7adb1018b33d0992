# siphonwatch: everything a user or a developer runs. Needs Python 3.11 or newer and make; no root, no Docker.
# Packages come from the hash locks (requirements*.lock); `make lock` renews those from pyproject.toml.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BENCH_VENV ?= .cache/venv-bench
LOCK_VENV ?= .cache/venv-lock
AUDIT_VENV ?= .cache/venv-audit
SBOM ?= .cache/sbom.cdx.json
FUZZ_SECONDS ?= 120
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 4
DEMO_ARGS ?=
EVALUATE_ARGS ?=
EVALUATE_DIR ?= .cache/evaluate
EVALUATE_SEED ?= 7
AUDIT_ARGS ?=
UPGRADE ?=

# The first interpreter that is new enough; `python3` may be older than a `python3.12` beside it.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

PIP_QUIET = --quiet --disable-pip-version-check --no-input --root-user-action ignore

# $(call locked,venv,lock): the locked packages, each checked against its hash.
define locked
	@if [ -z "$(PYTHON)" ]; then echo "siphonwatch needs Python 3.11 or newer: none found; set PYTHON=/path/to/python3" >&2; exit 1; fi
	@echo "installing $(2) into $(1)"
	@if ! [ -x $(1)/bin/python ]; then $(PYTHON) -m venv $(1) || { \
		echo "cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }; fi
	@$(1)/bin/python -m pip install $(PIP_QUIET) --require-hashes -r $(2)
endef

# $(call install,venv,lock): those, then this project itself.
define install
	$(call locked,$(1),$(2))
	@$(1)/bin/python -m pip install $(PIP_QUIET) --no-deps --no-build-isolation --editable .
	@mkdir -p .cache/import/siphonwatch && ln -sfn ../../../models ../../../streams .cache/import/siphonwatch/
	@touch $@
endef

.PHONY: help demo demo-desk evaluate test lint bench fuzz chart sbom audit lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

demo: $(VENV)/.demo ## Install, start a broker and a worker, play a scenario, print its alerts and where the desk showed them (3 minutes; a slow machine takes longer)
	@$(VENV)/bin/siphonwatch demo $(DEMO_ARGS)

demo-desk: $(VENV)/.demo ## The same, and keep the desk on its cases open for a browser, until Ctrl-C
	@$(VENV)/bin/siphonwatch demo --desk $(DEMO_ARGS)

# A scorer for each kind of API, as a log of one kind is what a gateway has.
evaluate: $(VENV)/.demo ## Install, write labelled traffic, measure detection on it: tables and a page (1 to 2 minutes)
	@$(VENV)/bin/siphonwatch scenario $(EVALUATE_DIR)/llm --kind llm --accounts 1200 --seed $(EVALUATE_SEED)
	@$(VENV)/bin/siphonwatch scenario $(EVALUATE_DIR)/rest --kind rest --accounts 400 --seed $(EVALUATE_SEED)
	@SIPHONWATCH_CONFIG=$(EVALUATE_DIR)/rest/settings.toml $(VENV)/bin/siphonwatch evaluate \
		$(EVALUATE_DIR)/llm/litellm.ndjson $(EVALUATE_DIR)/rest/nginx.ndjson \
		--labels $(EVALUATE_DIR)/llm/labels.csv --labels $(EVALUATE_DIR)/rest/labels.csv \
		--attack-requests $(EVALUATE_DIR)/llm/attack_requests.csv.gz \
		--attack-requests $(EVALUATE_DIR)/rest/attack_requests.csv.gz \
		--html $(EVALUATE_DIR)/report.html $(EVALUATE_ARGS)
	@echo "the page with plots: $(EVALUATE_DIR)/report.html"

test: lint ## Install, lint, type-check, run the whole suite; pytest's closing line comes last
	@$(VENV)/bin/python -c 'from siphonwatch.streams.worker.warm import warm; warm(sketches=True)' # once, not each process
	@$(VENV)/bin/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder --ignore-glob='*/fuzz/fuzz_*' --ignore-glob='*/tests/bench/*' \
		tests $(PYTEST_ARGS)

lint: $(VENV)/.test ## Ruff, formatting, strict mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

bench: $(BENCH_VENV)/.bench ## Throughput beside the peers, restore, latency, size of an account
	@PYTHONPATH=tests:tests/tools $(BENCH_VENV)/bin/python -m bench $(BENCH_ARGS)

fuzz: $(VENV)/.fuzz ## Coverage-guided fuzzing of adapters and decoder, FUZZ_SECONDS for each target
	@targets=$$(ls tests/fuzz/fuzz_*.py); for target in $$targets; do \
		mkdir -p .cache/fuzz/$$(basename $$target .py); echo "$$target: $(FUZZ_SECONDS) s"; \
		$(VENV)/bin/python $$target .cache/fuzz/$$(basename $$target .py) \
			-artifact_prefix=.cache/fuzz/ -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1; \
	done

sbom: $(VENV)/.demo $(AUDIT_VENV)/.audit ## CycloneDX bill of materials of what requirements.lock installs: .cache/sbom.cdx.json
	@$(AUDIT_VENV)/bin/python deploy/supply/sbom.py --lock requirements.lock --python $(VENV)/bin/python --out $(SBOM)

audit: $(AUDIT_VENV)/.audit ## Known vulnerabilities of requirements.lock (AUDIT_ARGS=--required: fail offline), lint of the Dockerfile
	@$(AUDIT_VENV)/bin/hadolint --no-color --failure-threshold style deploy/Dockerfile
	@echo "deploy/Dockerfile: hadolint finds nothing"
	@$(AUDIT_VENV)/bin/python deploy/supply/audit.py requirements.lock $(AUDIT_ARGS)

chart: $(VENV)/.test ## Write the chart's schema of settings and its table of values, and package it: .cache/siphonwatch-*.tgz
	@$(VENV)/bin/python helm/maintain.py
	@$(VENV)/bin/python -c 'import helm_python as helm; print("packaged", helm.package("helm/siphonwatch", destination=".cache"))'

$(VENV)/.demo: requirements.lock pyproject.toml
	$(call install,$(VENV),requirements.lock)

$(VENV)/.test: requirements-test.lock pyproject.toml
	$(call install,$(VENV),requirements-test.lock)

$(VENV)/.fuzz: requirements-fuzz.lock pyproject.toml
	$(call install,$(VENV),requirements-fuzz.lock)

$(BENCH_VENV)/.bench: requirements-bench.lock pyproject.toml
	$(call install,$(BENCH_VENV),requirements-bench.lock)

$(AUDIT_VENV)/.audit: requirements-audit.lock
	$(call locked,$(AUDIT_VENV),requirements-audit.lock)
	@touch $@

# One resolution for every Python from 3.11 on and every platform; setuptools is in it because the project is built
# without isolation, so that nothing unlocked is ever fetched.
UV_COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
COMPILE = printf 'setuptools>=77\n' | $(UV_COMPILE) pyproject.toml - --extra demo --extra postgres

lock: ## Renew the hash locks from pyproject.toml (UPGRADE=1: newest versions)
	@[ -x $(LOCK_VENV)/bin/uv ] || { $(PYTHON) -m venv $(LOCK_VENV); $(LOCK_VENV)/bin/python -m pip install $(PIP_QUIET) uv; }
	@$(COMPILE) -o requirements.lock
	@$(COMPILE) --extra test -c requirements.lock -o requirements-test.lock
	@$(COMPILE) --extra test --extra fuzz -c requirements-test.lock -o requirements-fuzz.lock
	@$(COMPILE) --extra bench -c requirements.lock -o requirements-bench.lock
	@$(UV_COMPILE) --group audit -o requirements-audit.lock

clean: ## Remove what make and the tools left, the virtual environments too
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
