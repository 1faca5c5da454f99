# Two commands are enough: `make quickstart` shows what xcompose does, `make test` proves that it works here.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
ORACLES := .venv-oracles/bin
ORACLES_STAMP := .venv-oracles/.installed
# One file of plain torch each from two packages that need more than it does.
FIXED := deepspeed-0.19.0
FIXED_FILE := $(FIXED)/deepspeed/ops/sparse_attention/sparsity_config.py
NAIVE := fla_core-0.6.0
NAIVE_FILE := fla/ops/linear_attn/naive.py
# A package that is compiled here: it wants a C++ compiler, and where it sees nvcc, it wants the rest of CUDA, too.
FAST := pytorch-fast-transformers
FAST_STAMP := .venv-oracles/.installed-fast
# What clashes with the versions of the others.
OLD := .venv-oracles-old/bin
OLD_STAMP := .venv-oracles-old/.installed
OLD_TESTS := tests/oracles/test_transformer_xl.py
PIP_QUIET := --quiet --disable-pip-version-check

.PHONY: help quickstart test test-slow oracles test-oracles docs learning site lint format clean

help:
	@echo "make quickstart    check, train, generate and compare: about five minutes"
	@echo "make test          the tests"
	@echo "make test-slow     the tests that take longer, too"
	@echo "make test-oracles  comparisons with other implementations, in environments of their own"
	@echo "make docs          count the page about complexity anew: some minutes"
	@echo "make site          the documentation as a web site, in build/site"
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
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

$(ORACLES_STAMP): pyproject.toml constraints.txt
	@echo "environment: .venv-oracles (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-oracles
	@$(ORACLES)/python -m pip install $(PIP_QUIET) --upgrade pip -c constraints.txt
	@PYTHONWARNINGS=ignore $(ORACLES)/python -m pip install $(PIP_QUIET) -c constraints.txt \
		setuptools -e '.[train,test,oracles]'
	@PYTHONWARNINGS=ignore $(ORACLES)/python -m pip download $(PIP_QUIET) --no-deps \
		--no-build-isolation --no-binary deepspeed --dest build $(subst -,==,$(FIXED))
	@$(ORACLES)/python -m pip download $(PIP_QUIET) --no-deps --dest build $(subst -,==,$(NAIVE))
	@site=$$($(ORACLES)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		tar -xzOf build/$(FIXED).tar.gz $(FIXED_FILE) > $$site/deepspeed_sparsity_config.py && \
		$(ORACLES)/python -c 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]).decode())' \
			build/$(NAIVE)-py3-none-any.whl $(NAIVE_FILE) > $$site/fla_linear_naive.py
	@touch $(ORACLES_STAMP)

$(FAST_STAMP): $(ORACLES_STAMP)
	@echo "compiling $(FAST) (a few minutes)"
	@$(ORACLES)/python -c 'import fast_transformers' 2> build/fast.log || \
		PATH=$$(echo "$$PATH" | tr : '\n' | while read d; do test -x "$$d/nvcc" || echo "$$d"; done | paste -s -d : -) \
		$(ORACLES)/python -m pip install $(PIP_QUIET) --no-deps --no-build-isolation \
		--no-binary $(FAST) $(FAST)==0.4.0 2> build/fast.log || \
		echo "$(FAST) was not built, so its tests are skipped; build/fast.log says why"
	@touch $(FAST_STAMP)

$(OLD_STAMP): pyproject.toml constraints.txt
	@echo "environment: .venv-oracles-old (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-oracles-old
	@$(OLD)/python -m pip install $(PIP_QUIET) --upgrade pip -c constraints.txt
	@PYTHONWARNINGS=ignore $(OLD)/python -m pip install $(PIP_QUIET) -c constraints.txt \
		setuptools -e '.[train,test,oracles-old]'
	@touch $(OLD_STAMP)

oracles: $(ORACLES_STAMP) $(FAST_STAMP) $(OLD_STAMP)

test-oracles: oracles
	@$(ORACLES)/python -m pytest -n 2 --dist worksteal tests/oracles
	@$(OLD)/python -m pytest $(OLD_TESTS)

docs: $(STAMP)
	@XCOMPOSE_PLUGINS=none $(BIN)/xcompose schema -o specs/schema.json
	@$(BIN)/python docs/tools/complexity_page.py

learning: $(STAMP)
	@$(BIN)/python docs/tools/learning_page.py

site: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-oracles .venv-oracles-old build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
