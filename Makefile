# Everything starts here; `make` alone prints this help. The environment is installed on first use.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# MODEL names a real base model on a CUDA machine; without it everything runs on the mini lab, on CPU.
MODEL ?=
ifeq ($(strip $(MODEL)),)
ENGINE := cpu
VENV ?= .venv
else
ENGINE := cuda
VENV ?= .cache/venv-cuda
endif
PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3.12 || command -v python3))
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform linux --generate-hashes \
	--no-emit-index-url --override requirements/overrides.txt --custom-compile-command "make lock"
PROJECTS := pyproject.toml clients/python/pyproject.toml
# Where it is set, each of the many processes would compile torch, transformers and vLLM anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test check bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: ## the environment alone (.venv); every other target does this by itself
	@requirements/install.sh "$(VENV)" "$(ENGINE)" "$(PYTHON)"

demo: install ## a risky request with two pictures, both answers explained; DEMO_ONCE=1 ends after them
	@exec $(BIN)/python -m deploy.demo

test: install ## all tests, the real engine with the mini model included
	$(BIN)/python -m pytest -m "not bench" -n 2 --no-loadscope-reorder

check: install ## lint, formatting, types, import rules, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

bench: install ## measurements
	$(BIN)/python -m pytest -m bench -s

lock: install ## resolve requirements/*.txt anew; versions stay unless pyproject.toml asks for others
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" requirements/uv.in -o requirements/uv.txt
	for apart in litellm peers; do $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" requirements/$$apart.in -o requirements/$$apart.txt; done
	$(LOCK) pyproject.toml --extra serve -o requirements/gateway.txt
	$(LOCK) pyproject.toml --extra align -o requirements/align.txt
	$(LOCK) $(PROJECTS) --extra serve --extra align --extra scale --extra engine-cpu --group dev -o requirements/cpu.txt
	$(LOCK) $(PROJECTS) --extra serve --extra align --extra scale --extra engine-cuda --group dev -o requirements/cuda.txt

clean: ## remove what was built (.cache, tool caches); the environments stay
	[ ! -d .cache ] || find .cache -mindepth 1 -maxdepth 1 ! -name 'venv-*' -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build
