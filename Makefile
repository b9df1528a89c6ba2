.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run  ## Set up, then run the main job on embedded images; prints the report's path
	$(BIN)/sio-data quickstart --out demo

test: $(VENV)/.dev  ## Set up, then lint, check types, and run the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 -m "not slow"

test-all: $(VENV)/.dev  ## The same with the slow tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

bench: $(VENV)/.dev  ## Measure speed and memory; tables and JSON
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/shard_writer.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/sets.py
	$(BIN)/python benchmarks/importing.py
	$(BIN)/python benchmarks/measure.py
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/mixing.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/detectors.py
	$(BIN)/python benchmarks/detectors_memory.py --scale 0.02

stress: $(VENV)/.dev  ## Kill generations and trainings at 134 random moments; what resumes must end the same
	$(BIN)/python benchmarks/stress_kill.py
	$(BIN)/python benchmarks/stress_training.py

format: $(VENV)/.dev  ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what the other targets made
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(VENV)/.run $@

.PHONY: help demo test test-all bench stress format clean
