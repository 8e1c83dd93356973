# Everything runs inside .venv, which `make` builds on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# bench compares threads with threads; two is what the demo promises to run on
THREADS ?= 2

.PHONY: demo serve test quick giant check page docs chromium bench clean

# one thread: this small model gains a quarter from a second one, and loses a multiple when something else wants the core
demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/latentloom run workflows/lora.json

serve: $(STAMP)
	$(BIN)/latentloom serve --open

test: $(STAMP) check page chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# under two minutes on two cores: no browser, no npm, no nodes, which train, and none of the tests that are marked slow
quick: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not giant" --ignore tests/browser --ignore tests/nodes --ignore tests/web

# models of full size: minutes each, and up to 16 GB of memory and disk
giant: $(STAMP)
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -m giant

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m web.build --check

page: $(STAMP)
	$(BIN)/python -m web.build

docs: $(STAMP)
	$(BIN)/python docs/build.py

# the browser tests drive the system's Chromium; nothing downloads another one
chromium:
	@command -v chromium chromium-browser google-chrome > /dev/null \
	  || { echo "Installing Chromium with apt-get"; SUDO="$$(command -v sudo > /dev/null && echo sudo -n)"; $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends chromium; } \
	  || { echo "The browser tests need Chromium: install it and try again."; exit 1; }

bench: $(STAMP) page
	PYTHONPATH=. OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/bench/executor.py
	PYTHONPATH=. OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/bench/train_step.py
	PYTHONPATH=. OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/bench/null_text.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/bench/methods.py
	PYTHONPATH=. OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/bench/rerun.py
	PYTHONPATH=. OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/bench/memory.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.merge
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/bench/editor.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) outputs site web/static web/node_modules .pytest_cache .ruff_cache
