# Two commands are enough: `make quickstart` shows what xcompose does, `make test` proves that it works here.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
ORACLES := .venv-oracles/bin
ORACLES_STAMP := .venv-oracles/.installed
# One file of plain torch from a package that needs more than it does.
FIXED := deepspeed-0.19.0
FIXED_FILE := $(FIXED)/deepspeed/ops/sparse_attention/sparsity_config.py

.PHONY: help quickstart test test-slow oracles test-oracles docs learning lint format clean

help:
	@echo "make quickstart    check, train, generate and compare: about five minutes"
	@echo "make test          the tests"
	@echo "make test-slow     the tests that take longer, too"
	@echo "make test-oracles  comparisons with other implementations, in an environment of their own"
	@echo "make docs          count the page about complexity anew: some minutes"
	@echo "make learning      train small variants that the page about learning lacks: a minute each"
	@echo "make lint          ruff and pyright"

$(STAMP): pyproject.toml constraints.txt
	@echo "environment: .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip -c constraints.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools -e '.[dev]'
	@touch $(STAMP)

quickstart: $(STAMP)
	@$(BIN)/xcompose quickstart

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	@$(BIN)/python -m pytest -n 2

$(ORACLES_STAMP): pyproject.toml constraints.txt
	@echo "environment: .venv-oracles (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-oracles
	@$(ORACLES)/python -m pip install --quiet --disable-pip-version-check --upgrade pip -c constraints.txt
	@PYTHONWARNINGS=ignore $(ORACLES)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		setuptools -e '.[train,test,oracles]'
	@PYTHONWARNINGS=ignore $(ORACLES)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --no-binary deepspeed --dest build $(subst -,==,$(FIXED))
	@tar -xzOf build/$(FIXED).tar.gz $(FIXED_FILE) > $$($(ORACLES)/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/deepspeed_sparsity_config.py
	@touch $(ORACLES_STAMP)

oracles: $(ORACLES_STAMP)

test-oracles: oracles
	@$(ORACLES)/python -m pytest -n 2 tests/oracles

docs: $(STAMP)
	@$(BIN)/python docs/tools/complexity_page.py

learning: $(STAMP)
	@$(BIN)/python docs/tools/learning_page.py

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-oracles build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
