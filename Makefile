# make demo: environment, install, a reconstruction of data/demo_photos.   make test: every check of this project.
# Both need only python3 with its venv module. VENV= chooses another folder for the environment, PYTHON= another
# interpreter, PIP_FLAGS= adds options to pip, and PYTEST_FLAGS= to pytest.
VENV ?= .venv
PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_FLAGS ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_FLAGS)

.PHONY: demo test lint docs public-names clean

demo: $(VENV)/.installed
	$(BIN)/recon3d reconstruct data/demo_photos --out demo_out --preset draft
	@echo "The report is $(CURDIR)/demo_out/report.html"

test: lint docs
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

public-names: $(VENV)/.installed-dev
	$(BIN)/python tests/house/public_names.py > tests/house/public_names.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev,heic,video,viewer]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf build dist site demo_out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
