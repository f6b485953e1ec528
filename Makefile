# MediSum: `make help` lists the commands.

PYTHON  ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PROFILE ?= tiny
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
DEV     := $(VENV)/.installed-dev

export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install run test lab serve notebooks readme lint format clean

help:
	@echo "make run [PROFILE=tiny]   install, execute the notebooks 01 to 05 and write reports/"
	@echo "make test                 install what the tests need and run them"
	@echo "make lab                  open the notebooks in JupyterLab"
	@echo "make serve [PROFILE=tiny] serve a trained profile over HTTP on this machine"
	@echo "make notebooks            bring each .py and .ipynb into agreement; TAKE=py or ipynb decides"
	@echo "make readme               for maintainers: publish the newest run of tiny in README.md"
	@echo "make lint                 check style and format; make format mends them"
	@echo "make install              only make .venv"
	@echo "make clean                remove .venv and caches, no data, model or report"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on the PATH, found none" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "expected Python 3.11 or newer, got $$("$(PYTHON)" --version); set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { \
	  echo "this Python lacks venv; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP) $@

install: $(STAMP)

run: $(STAMP)
	$(BIN)/python -m medisum_utils run --profile $(PROFILE)

# Two at a time, with a thread each: most tests wait for one core. A file's tests stay together.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir=.

serve: $(STAMP)
	$(BIN)/python -m medisum_utils serve --profile $(PROFILE)

notebooks: $(STAMP)
	$(BIN)/python -m medisum_utils notebooks $(if $(TAKE),--take $(TAKE))

readme: $(STAMP)
	$(BIN)/python -m medisum_utils.runs.readme

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
