# Two commands matter: `make demo` and `make test`. Both make their own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS := $(VENV)/.docs
SLOW := $(VENV)/.slow
LOWEST := $(VENV)-lowest
TOUCHING := cli estimator examples files frame marginals report schema serving stream tune
UV = $(LOWEST)/bin/uv pip install --quiet --compile-bytecode --python $(1)/bin/python

.PHONY: demo test slow check bench docs minimal clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,mimic,postgres,serve,tune,test]"
	touch $@

$(SLOW): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[export,spark]"
	touch $@

$(DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

demo: $(INSTALLED)  ## prepare a real cohort, train CM² and what it is compared with, write a report
	$(BIN)/sklar demo

test: $(INSTALLED)  ## the fast tests, one torch thread per worker
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

slow: $(SLOW) $(DOCS)  ## recovery of known truth, the whole demo, interruption; each test prints its time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not cuda" -n 2 --dist worksteal --durations=0

check: $(INSTALLED)  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS)  ## the site in docs/_build/html; its tutorials run, and any warning fails it
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(INSTALLED)  ## the NAFLD benchmark over five seeds, and the speed of resampling and of preparing MIMIC
	$(BIN)/python benchmarks/nafld.py
	$(BIN)/python benchmarks/bootstrap.py
	$(BIN)/python benchmarks/prepare.py

minimal:  ## the lowest versions that pyproject.toml allows, in an environment of their own, and tests that touch each
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(call UV,$(LOWEST)) --resolution lowest-direct -e ".[demo,mimic,serve,tune]"
	$(call UV,$(LOWEST)) -e ".[test]"
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 -o filterwarnings= $(foreach name,$(TOUCHING),tests/test_$(name).py)
	$(PYTHON) -m venv --clear $(LOWEST)-export  # export asks for a newer torch than the rest
	$(call UV,$(LOWEST)-export) --resolution lowest-direct -e ".[demo,export]"
	$(call UV,$(LOWEST)-export) -e ".[test]"
	OMP_NUM_THREADS=1 $(LOWEST)-export/bin/python -m pytest -n 2 -o filterwarnings= tests/test_export.py

clean:
	rm -rf $(VENV) $(LOWEST) $(LOWEST)-export build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
