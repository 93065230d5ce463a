# One command suffices on a fresh machine: every target makes what it needs, the environment included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
HTML := _build/html

# The networks here are small: more threads slow them down, and two notebooks share the cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book test lint library unit notebooks browser pages bench rates dropout-run jupyter serve format repository clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment ----------------------------------------------------------------------------------------------

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer, or name yours: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$$($(PYTHON) --version) is too old for the pinned versions: make PYTHON=python3.11 (or newer)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy python3-venv; } \
	  || { echo "Python's venv module is missing: apt-get install python3-venv (as root), then run this again"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

# The book -----------------------------------------------------------------------------------------------------

# Each step does again only what depends on something that has changed; see the tools.
book: $(READY) ## build the book, strictly, about 10 minutes; it opens at _build/html/index.html
	@$(BIN)/python -m tools.book.pictures
	@echo "== the chapters that are out of date, into the cache from which the book is built"
	@$(BIN)/python -m tools.book.run_chapters
	@echo "== the book: every warning an error"
	@$(BIN)/python tools/book/fetch_assets.py
	@$(BIN)/python -m tools.book.build_pages
	@echo "== the book to print: $(HTML)/gradients-leak.pdf"
	-@$(BIN)/python tools/book/browser.py
	$(BIN)/python tools/book/print_book.py
	@$(BIN)/python -m tools.set_repository

serve: $(READY) ## serve the built book at http://localhost:8000
	$(BIN)/python -m http.server --directory $(HTML) 8000

# The tests ----------------------------------------------------------------------------------------------------

test: lint library notebooks book pages ## everything below and the strict build

lint: $(READY) ## style of code and notebooks
	@echo "== style: ruff, Biome for the JavaScript, and notebooks without outputs"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/book/lint_javascript.py
	$(BIN)/nbstripout --verify notebooks/*.ipynb

library: $(READY) ## all tests of the library
	@echo "== the library"
	$(BIN)/python -m pytest tests --ignore=tests/browser -n 2 --dist worksteal -p no:nbval --junitxml=_build/tests.xml
	$(BIN)/python -m pytest tests/elsewhere -n 2

unit: $(READY) ## its fast tests only, in a minute
	$(BIN)/python -m pytest tests --ignore=tests/browser -n 2 --dist worksteal -p no:nbval -m "not slow"

notebooks: $(READY) ## run every notebook, cell by cell
	@echo "== the notebooks"
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 -n 2 --dist loadfile -p no:cacheprovider notebooks

browser: $(READY)
	@$(BIN)/python tools/book/browser.py

pages: $(READY) browser ## the built book in a real browser
	@echo "== the pages in a browser"
	$(BIN)/python -m pytest tests/browser -n 2 --dist loadfile

bench: $(READY) ## how fast and how lean: ours beside the public reference loop, about 15 minutes
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.one_run

rates: $(READY) ## how often: success rates with intervals, about an hour
	$(BIN)/python -m reproduce.recovery

dropout-run: $(READY) ## attackers on dropout, 5 800 evaluations each, about two hours; goes on where it was interrupted
	$(BIN)/python -m reproduce.dropout_run

# For authors --------------------------------------------------------------------------------------------------

jupyter: $(READY) ## open the chapters in JupyterLab
	cd notebooks && ../$(BIN)/jupyter lab

format: $(READY) ## format and tidy code and notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/book/lint_javascript.py --write
	$(BIN)/nbstripout notebooks/*.ipynb

repository: $(READY) ## set the address on every page (without URL: show it): make repository URL=https://github.com/me/dlgutils
	$(BIN)/python -m tools.set_repository $(URL)

clean: ## remove what was built, but neither the environment nor the fetched assets
	rm -rf _build
