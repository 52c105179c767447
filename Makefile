# Everything runs in .venv, which `make setup` builds once and again when the requirements change.
# A fresh clone needs python3 (3.11 or later) with pip and venv, and make.

PYTHON ?= python3
WORKERS ?= logical
GOLDEN ?= tests/golden/data
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# One thread a test worker, so that the workers share the cores instead of fighting for them.
TEST_ENV := JAX_PLATFORMS=cpu NPROC=1 OMP_NUM_THREADS=1
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test test-slow lint format types notebooks docs bench fidelity lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

setup: $(STAMP)  ## Build .venv with the package, its tests, docs and tools

demo: $(STAMP)  ## Train the example network on analog tiles and print the table
	$(BIN)/aihwjax train configs/mnist10k_mlp.toml

test: $(STAMP)  ## Run the tests, in parallel
	$(PYTEST) --dist loadscope -m 'not slow'

test-slow: $(STAMP)  ## Run the long statistical tests, in parallel
	$(PYTEST) --dist worksteal -m slow

lint: $(STAMP)  ## Check style
	$(BIN)/ruff check

format: $(STAMP)  ## Repair style and layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(STAMP)  ## Check types
	$(BIN)/mypy

notebooks: $(STAMP)  ## Execute the notebooks, with their results in build/notebooks/
	@mkdir -p build/notebooks
	JAX_PLATFORMS=cpu $(BIN)/jupyter execute --timeout=900 --output=../build/notebooks/{notebook_name} notebooks/*.ipynb

build/notebooks/%.ipynb: notebooks/%.ipynb | $(STAMP)
	@mkdir -p build/notebooks
	JAX_PLATFORMS=cpu $(BIN)/jupyter execute --timeout=900 --output=../build/notebooks/$* $<

docs: $(STAMP) $(patsubst %,build/%,$(wildcard notebooks/*.ipynb))  ## Build the site in site/, after new or changed notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP)  ## Measure speed
	$(BIN)/python -m benchmarks.run

fidelity: $(STAMP)  ## Compare with recorded statistics of the reference in the folder GOLDEN
	$(BIN)/aihwjax fidelity $(GOLDEN)

lock: $(STAMP)  ## Write the installed versions to constraints.txt
	$(BIN)/python -m pip freeze --exclude aihwjax --exclude certifi > constraints.txt
	@touch $(STAMP)

clean:  ## Remove .venv, caches and outputs
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache build site outputs
