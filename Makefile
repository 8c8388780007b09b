# `make book` builds the site, `make test` checks it. Everything lives in .venv and _build.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help book test kernels notebooks serve site-test shots lock clean install

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Quiet enough to hide pip's notices about a machine's own configuration, never its errors.
PIP = -m pip --disable-pip-version-check --quiet --quiet
# What the lock starts from; everything else in constraints.txt follows.
PINS := torch==2.13.0 scipy==1.16.3

# Kernels follow no personal profile, and do not warn that they talk over the local network.
export IPYTHONDIR := $(CURDIR)/$(VENV)/ipython
# Explorers draw their precomputed grid, which works without a kernel.
export FANS_STATIC ?= 1
# Kernels run side by side: more threads than cores make a short training take minutes.
export OMP_NUM_THREADS ?= 1

help:
	@echo "make book       build the site in _build/html (first time: makes .venv)"
	@echo "make test       lint, types, unit tests, and every notebook against its stored output"
	@echo "make kernels    the numerical tests again, as another processor computes them"
	@echo "make serve      build the site and serve it on http://localhost:8000"
	@echo "make notebooks  execute notebooks/*.md and write the paired .ipynb"
	@echo "make site-test  drive the built site with a headless Chromium"
	@echo "make shots      screenshots of every page in _build/shots"
	@echo "make lock       write constraints.txt anew from a fresh environment"
	@echo "make clean      remove what was built, keep .venv"

install: $(STAMP)

$(STAMP): pyproject.toml book/pyproject.toml constraints.txt
	@echo "installing into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) install --upgrade pip
	@$(BIN)/python $(PIP) install -e '.[test]' -e book -c constraints.txt
	@# The first import builds a font cache and says so; do it where no notebook is listening.
	@$(BIN)/python -c "import matplotlib.font_manager" 2>/dev/null
	@mkdir -p $(IPYTHONDIR)/profile_default
	@echo "c.IPKernelApp.log_level = 'ERROR'" > $(IPYTHONDIR)/profile_default/ipython_kernel_config.py
	@touch $@

# A build that failed or was interrupted is not marked complete, and the next one reads every page anew.
book: $(STAMP)
	@$(BIN)/python tools/cache.py
	@$(BIN)/jupyter-book build . -W -n --keep-going -q
	@touch _build/complete

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -W error tests/unit
	$(BIN)/pytest -q --nbval --nbval-sanitize-with=tests/nbval-sanitize.cfg --nbval-cell-timeout=300 notebooks

# Numbers may not depend on the processor: the numerical rooms again, with the plainest kernels.
KERNELS := process levels samplers wiener spectrum filters wavelet unet gan

kernels: $(STAMP)
	ATEN_CPU_CAPABILITY=default $(BIN)/pytest -q -W error $(KERNELS:%=tests/unit/test_%.py)

notebooks: $(STAMP)
	@$(BIN)/python tools/refresh.py

serve: book
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

site-test: $(STAMP)
	$(BIN)/pytest -q tests/site

shots: $(STAMP)
	@$(BIN)/python tests/site/shots.py

lock:
	@rm -rf _build/lock && mkdir -p _build
	@$(PYTHON) -m venv _build/lock
	@_build/lock/bin/python $(PIP) install --upgrade pip
	@_build/lock/bin/python $(PIP) install -e '.[test]' -e book $(PINS)
	@_build/lock/bin/python $(PIP) freeze --exclude-editable | sed 's/+cpu$$//' > _build/constraints.txt
	@mv _build/constraints.txt constraints.txt && rm -rf _build/lock

clean:
	@rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis
