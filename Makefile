# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# Everything they install goes into .venv, everything they write into build.

VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
TRAINED := export/hyperseg_export/samples/trained_tiny
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# Commands start dozens of processes, and each would compile torch anew: 4 of the 10 seconds that importing it takes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-full check bench dist fuzz clean

help:
	@echo "make demo       export a tiny trained checkpoint, segment two pictures, hold the masks against the truth"
	@echo "make test       static checks and tests"
	@echo "make test-full  the long tests: every family and precision, soaks, fuzzing; its results are kept"
	@echo "make setup      only prepare .venv"
	@echo "make dist       wheel and source distribution, checked and run in clean environments"
	@echo "make fuzz       parsers of untrusted files and requests, for longer than the tests do"
	@echo "make bench      ONNX graphs against torch modules (see benchmarks/README.md)"
	@echo "make clean      remove build and .venv"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; install one, or: make PYTHON=/path/to/python"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing; on Debian: apt install python3-venv"; exit 3; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -c 'from hyperseg_kernels import cpu_ops; cpu_ops.libraries_if_possible()'  # for --native
	@touch $@

# What is asked, and of which pictures: see benchmarks/quality/demo.py.
demo: setup
	@rm -rf $(DEMO)
	$(BIN)/hyperseg-trt export $(TRAINED) $(DEMO)/bundle
	$(BIN)/python benchmarks/quality/demo.py draw $(DEMO)
	$(BIN)/hyperseg-trt run $(DEMO)/bundle $(DEMO)/scene.png "the red object below the square" "the leftmost plain object" \
		--out $(DEMO)/result --report
	$(BIN)/hyperseg-trt run $(DEMO)/bundle $(DEMO)/photograph.png "the rightmost circle" --out $(DEMO)/result --report
	$(BIN)/python benchmarks/quality/demo.py score $(DEMO)
	$(BIN)/hyperseg-trt bench $(DEMO)/bundle --scenario first --scenario next --scenario chat --rounds 10 \
		--backend onnxruntime --rival torch-eager --checkpoint $(TRAINED) --out $(DEMO)/bench

# What takes no more than a quarter of an hour on two cores; continuous integration sets MARKS="not full".
MARKS := not slow and not full
test: check $(VENV)/.triton $(VENV)/.browser
	HYPERSEG_TRITON=$(CURDIR)/$(VENV)/triton $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(MARKS)"

# What takes too long for every change: hours, so TESTS="tests/kernels tests/serving" runs a part. README shows the
# result file, whose rows stay until their file runs again.
TESTS :=
test-full: setup $(VENV)/.triton
	mkdir -p build
	HYPERSEG_TRITON=$(CURDIR)/$(VENV)/triton $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m full --junitxml=build/full.xml $(TESTS); \
		$(BIN)/python tests/full_results.py build/full.xml benchmarks/results/test_full.json

# A server for the tests of serving, which are skipped on machines that cannot have it.
$(VENV)/.triton: $(VENV)/.ready triton_repo/hyperseg_serving/server/distribution.py
	$(BIN)/hyperseg-trt serve install-local --folder $(VENV)/triton && touch $@ || echo "no local server: tests that need one will be skipped"

# A browser for the tests of pages, which are skipped by name on machines that cannot have it.
$(VENV)/.browser: $(VENV)/.ready
	command -v chromium && command -v chromedriver || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy --no-install-recommends chromium chromium-driver; } \
		&& touch $@ || echo "no chromium: tests that need a browser will be skipped"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/graphs/bench_graphs.py

# HYPERSEG_PYTHONS names further interpreters, such as python3.12:python3.13; what is checked is what lies in dist.
dist: setup
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	HYPERSEG_DIST=$(CURDIR)/dist $(BIN)/python -m pytest -m "full or not full" tests/test_distribution.py

# So many examples for each parser, others every time; a failure ends with the line that reproduces it.
EXAMPLES := 5000
fuzz: setup
	HYPERSEG_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -k test_any_ --timeout=0 --hypothesis-show-statistics \
		tests/export/test_parsers.py tests/runtime/images/test_reading_errors.py tests/serving/service/test_any_request.py \
		tests/benchmarks/quality/datasets/test_any_folder.py

clean:
	rm -rf build $(VENV)
