# Everything a person or CI runs. `make demo` and `make test` need only Python >= 3.10; both set up what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := docs/demo.py:11:14
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint format eval holdout bench corpus train picture clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,train]'
	@touch $@

demo: $(VENV)/.run ## complete a real file in the terminal with the embedded model
	$(BIN)/mezzotint complete $(DEMO) --delay-ms 400

test: $(VENV)/.dev ## install what the tests need and run them
	$(BIN)/python -m pytest

lint: $(VENV)/.dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## rewrite the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.run ## start-up, memory and latency of the server
	$(BIN)/mezzotint bench lsp

holdout: $(VENV)/.run ## the packages that evaluation uses and training never sees
	$(BIN)/pip install -q --no-deps --no-compile --target .corpus/holdout -r diffusion/evaluate/holdout.txt

eval: holdout ## quality on held-out packages, beside autoregressive decoding of the same weights
	$(BIN)/mezzotint eval --markdown docs/quality.md

corpus: $(VENV)/.dev holdout ## collect and tokenize the training corpus (EXCLUDE=problems.jsonl keeps evaluation problems out)
	$(BIN)/pip install -q --no-deps --no-compile --only-binary :all: --target .corpus/packages -r diffusion/train/packages.txt
	$(BIN)/mezzotint train corpus .corpus/holdout .corpus/packages $$($(BIN)/python -c 'import site; print(*site.getsitepackages())') \
	  $(if $(EXCLUDE),--exclude $(EXCLUDE))

# glibc returns every large buffer to the kernel and faults it in again: a third of a training step, without these.
train: export GLIBC_TUNABLES := glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456
train: $(VENV)/.dev ## train, or go on training, for MINUTES (90)
	$(BIN)/mezzotint train run --minutes $(or $(MINUTES),90)

picture: $(VENV)/.run ## the picture in the README, from a real completion
	$(BIN)/python docs/make_picture.py $(DEMO) docs/completion.svg

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
