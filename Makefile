# `make` alone lists the commands. It needs make and Python; everything else is installed into .venv.

# Candidates: the first one of a supported version is used. To choose another: make test PYTHON=/path/to/python3.12
PYTHON = python3.11 python3.12 python3.13 python3 python
# Arguments appended to the command: make train ARGS="trainer.max_epochs=2", make test ARGS="-k lif"
ARGS =

VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers
ENGINES := $(VENV)/.engines
GPU := $(VENV)/.gpu
# One test process per core; all tests of a file run in one process, which shares their fixtures. A process that crashes
# ends the run: pytest-xdist would start another one, and wait for it forever.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --max-worker-restart 0
STEP := $(VENV)/bin/python scripts/bench_step.py --rounds 3
LIBRARIES := snnlab spikingjelly_compiled norse sinabs
MAIN_METHODS := snnlab snnlab_cuba snnlab_recompute snnlab_bf16 spikingjelly snntorch relu relu_bf16 convs
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.DEFAULT_GOAL := help
.PHONY: help train test check lint format slow docs calibrate bench gpu clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo '  Settings: ARGS="trainer.max_epochs=2" is appended to the command, PYTHON=... names the Python to use.'

train: $(STAMP) ## set everything up and train; ARGS are overrides
	@$(VENV)/bin/snnlab train $(ARGS)
	@printf '%s\n' '' 'Try next, after `. $(VENV)/bin/activate`; RUN is the folder above:' \
		'  snnlab evaluate RUN                  accuracy by class and over time, with plots' \
		'  snnlab report RUN                    one HTML page of the run' \
		'  snnlab train neuron.tau_mem=10       any setting; snnlab list shows what there is' \
		'  docs/tutorials/first_network.md      how to describe a network of your own' >&2

test: $(PEERS) ## set everything up and run the tests; ARGS go to pytest
	@$(RUN) pytest $(PARALLEL) $(ARGS)

check: lint ## checks before a change lands: lint, then the tests and those marked long
	@$(RUN) pytest $(PARALLEL) -m "not slow and not gpu" $(ARGS)

lint: $(PEERS) ## formatting, ruff, pyright
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright --pythonpath $(VENV)/bin/python

format: $(STAMP) ## reformat all files
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

slow: $(ENGINES) ## run the tests marked slow, an hour
	@$(RUN) pytest $(PARALLEL) -m "slow and not gpu" $(ARGS)

docs: $(STAMP) ## build the documentation, write build/site/index.html: half a minute
	@$(VENV)/bin/python scripts/build_docs.py $(ARGS)

calibrate: $(STAMP) ## simulate the error rate of the verdicts of `snnlab bench`, write docs/verdicts.md: an hour
	$(VENV)/bin/python scripts/calibrate_verdicts.py --out docs/verdicts.md

bench: $(PEERS) ## measure the README's speed numbers, with nothing else running: an hour, a quarter of it compiling
	$(STEP) --steps 10 30 100 300 --methods $(MAIN_METHODS)
	$(STEP) --steps 10 30 100 300 --methods $(LIBRARIES) --out outputs/bench_step_libraries
	$(STEP) --steps 10 30 100 --spikes busy --methods snnlab spikingjelly_compiled snntorch relu --out outputs/bench_step_busy
	$(STEP) --steps 30 --batch 1 128 --methods $(MAIN_METHODS) --out outputs/bench_step_batch
	$(STEP) --steps 30 100 --pool max --methods $(MAIN_METHODS) --out outputs/bench_step_max
	$(STEP) --kind dense --methods snnlab spikingjelly norse snntorch relu --out outputs/bench_step_dense
	$(VENV)/bin/python scripts/bench_data.py
	$(VENV)/bin/python scripts/bench_train.py

# A separate environment: the usual one may have a torch for CPUs.
gpu: ## with an NVIDIA GPU: install, compare every neuron, time a step, write outputs/gpu/report.md: 20 minutes
	@nvidia-smi -L 2>/dev/null | grep -q GPU || \
		{ echo 'make gpu: no NVIDIA GPU here (nvidia-smi lists none); nothing was installed' >&2; exit 2; }
	@$(MAKE) --no-print-directory VENV=.venv_gpu .venv_gpu/.gpu
	@.venv_gpu/bin/python scripts/gpu_report.py $(ARGS)

clean: ## remove the environment and the files of tools; runs in outputs/ stay
	rm -rf $(VENV) .venv_gpu build dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that a failed or interrupted installation runs again.
# A candidate is tested by running it: a pyenv shim on PATH may have no Python.
$(STAMP): pyproject.toml
	@if ! $(VENV)/bin/python -c 'import pip; $(FITS)' >/dev/null 2>&1; then \
		found=; \
		for python in $(PYTHON); do \
			if $$python -c '$(FITS)' >/dev/null 2>&1; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo 'snnlab needs Python 3.11, 3.12 or 3.13, with its venv module; of these none runs and fits: $(PYTHON)'; \
			echo '  Debian, Ubuntu: apt install python3 python3-venv    macOS: brew install python@3.12'; \
			echo '  A Python that is elsewhere: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3.12'; \
			exit 1; \
		fi >&2; \
		echo "Making $(VENV) with $$($$found --version), $$(command -v $$found)"; \
		$$found -m venv --clear $(VENV); \
	fi
	@echo 'Installing snnlab into $(VENV): about a minute and 1.4 GB, more where pip takes a CUDA build of torch.'
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Libraries that the tests compare neurons with; training does not need them.
$(PEERS): $(STAMP)
	@echo 'Installing Norse, snnTorch, SpikingJelly, Sinabs, NeuroBench and ONNX Runtime, which the tests compare with.'
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev,peers]'
	@touch $@

# Ray for searches, used by slow tests only.
$(ENGINES): $(PEERS)
	@echo 'Installing Ray, 700 MB, on which the slow tests search.'
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev,peers,ray]'
	@touch $@

# Libraries for the comparison on a GPU: SpikingJelly has its current kernels; the CuPy kernels need an older version,
# in a separate folder.
$(GPU): $(PEERS)
	@cuda=$$($(VENV)/bin/python -c 'import torch; print((torch.version.cuda or "").split(".")[0])'); \
	if [ -z "$$cuda" ]; then \
		echo 'make gpu: pip took a torch without CUDA; remove $(VENV), and name an index with one by PIP_INDEX_URL' >&2; \
		exit 2; \
	fi; \
	echo "Installing CuPy for CUDA $$cuda, and SpikingJelly 0.0.0.0.14, which has kernels for it."; \
	$(RUN) pip install --quiet --disable-pip-version-check "cupy-cuda$${cuda}x" && \
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/spikingjelly_cupy \
		spikingjelly==0.0.0.0.14 || echo 'They cannot be installed: the report leaves them out.'
	@touch $@
