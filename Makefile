# make demo    set everything up and run the main job on handwritten digits, without any download
# make test    set everything up, then the checks and all tests
# make check   linters, types, import directions
# make lint-fix  let ruff mend what it can
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests run in so many processes; what several need is trained once (tests/support/shared.py).
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS)

export HF_HUB_OFFLINE ?= 1
# Each process of a test would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint-fix setup clean

demo: $(READY)
	$(BIN)/ilk demo .demo

test: check
	$(PYTEST) tests/unit --cov
	$(PYTEST) tests/integration tests/e2e

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n $(WORKERS)
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit/test_public.py

lint-fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

# torch first and by its exact version: an open range would bring gigabytes of CUDA libraries.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[weights,parquet,pictures,tensorboard,formats,serve,dev]'
	ILK_CACHE=$(VENV)/cache $(BIN)/python -c 'from ilk.formats.web import runtime_folder; runtime_folder()' || \
	  echo "without onnxruntime-web the tests of the exported page are skipped" >&2
	touch $@

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .import_linter_cache .hypothesis
