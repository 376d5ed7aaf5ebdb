# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone. See CONTRIBUTING.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiling 20,000 modules that nobody imports would take longer than installing them.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
SOURCES := hf_cloob examples tests
DEMO := runs/emoji_cloob
# `accelerate launch` would give the run one thread otherwise.
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	--num_cpu_threads_per_process $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help demo test test-all slow lowest conformance bench lint format clean
.NOTPARALLEL:

help:
	@echo "make demo         install, fetch the emoji, pretrain a CLOOB, classify with it, plot: everything from nothing"
	@echo "make test         install and run the fast tests"
	@echo "make test-all     the slow tests, the oldest supported versions and transformers' common model tests"
	@echo "make lint         check the style; make format repairs it"
	@echo "make lowest       the fast tests with the oldest versions that pyproject.toml admits"
	@echo "make conformance  transformers' common model tests, on CloobModel and on CLIPModel"
	@echo "make bench        time pipeline, recall, objective, training step and geometry; an hour on two cores"
	@echo "make clean        remove environments, caches and built files; runs/ stays"

$(BIN)/python:
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip

# One stamp for each extra; it is older than pyproject.toml or constraints.txt when the packages have to be looked at.
$(VENV)/installed-%: pyproject.toml constraints.txt $(BIN)/python
	@echo "Installing hf_cloob[$*] into $(VENV); the first time takes a minute or two"
	@$(INSTALL) --editable '.[$*]'
	@touch $@

$(VENV)/installed-ruff: constraints.txt $(BIN)/python
	@$(INSTALL) ruff
	@touch $@

demo: $(VENV)/installed-demo
	$(LAUNCH) examples/pretrain.py --output_dir $(DEMO) --overwrite_output_dir true
	$(BIN)/python examples/demo.py $(DEMO)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow"

test-all: slow lowest conformance

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

lowest: $(BIN)/python
	$(BIN)/python .ci/lowest.py

conformance: $(VENV)/installed-test $(VENV)/installed-conformance
	$(BIN)/python -m tests.conformance

bench: $(VENV)/installed-test
	$(BIN)/python examples/benchmark_zero_shot.py
	$(BIN)/python examples/benchmark_recall.py
	$(BIN)/python examples/benchmark_objective.py
	$(BIN)/python examples/benchmark_training_step.py
	$(BIN)/python examples/benchmark_geometry.py

lint: $(VENV)/installed-ruff
	$(BIN)/ruff check $(SOURCES) .ci
	$(BIN)/ruff format --check $(SOURCES) .ci

format: $(VENV)/installed-ruff
	$(BIN)/ruff check --fix $(SOURCES) .ci
	$(BIN)/ruff format $(SOURCES) .ci

clean:
	rm -rf $(VENV) .venv-lowest .cache .pytest_cache .ruff_cache build dist
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +
