# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# Everything they install goes into .venv, everything they write into build.

VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
PHOTO := export/hyperseg_export/samples/coffee.jpg
TEXT := the cup of coffee
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup demo test check bench clean

help:
	@echo "make demo    export a tiny checkpoint, segment a photograph, show mask and report"
	@echo "make test    static checks and all tests"
	@echo "make setup   only prepare .venv"
	@echo "make bench   ONNX graphs against torch modules (see benchmarks/README.md)"
	@echo "make clean   remove build and .venv"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; install one, or: make PYTHON=/path/to/python"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing; on Debian: apt install python3-venv"; exit 3; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@rm -rf $(DEMO)
	$(BIN)/hyperseg-trt make-tiny $(DEMO)/checkpoint
	$(BIN)/hyperseg-trt export $(DEMO)/checkpoint $(DEMO)/bundle
	$(BIN)/hyperseg-trt run $(DEMO)/bundle $(PHOTO) "$(TEXT)" --out $(DEMO)/result --report
	@echo "The weights are random: the mask shows that every step works, not what a trained model sees."

test: check $(VENV)/.triton
	HYPERSEG_TRITON=$(CURDIR)/$(VENV)/triton $(BIN)/python -m pytest -n 2 --dist loadfile

# A server for the tests of serving, which are skipped on machines that cannot have it.
$(VENV)/.triton: $(VENV)/.ready triton_repo/hyperseg_serving/server/distribution.py
	$(BIN)/hyperseg-trt serve install-local --folder $(VENV)/triton && touch $@ || echo "no local server: tests that need one will be skipped"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/bench_graphs.py

clean:
	rm -rf build $(VENV)
