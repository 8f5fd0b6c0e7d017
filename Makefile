# Two commands on a fresh machine: `make demo` and `make test`. Both set up all that they need.

BIN := .venv/bin
SECONDS ?=
DAGM_ROOT ?= ../shared/data/dagm
START_WEIGHTS ?= ../shared/data/imagenet/resnet50_conv1_to_conv3.npz

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup:
	@.ci/setup

demo: setup ## the whole daemon on simulated cameras; SECONDS=20 ends it after 20 s
	@$(BIN)/defect-monitor demo $(if $(SECONDS),--seconds $(SECONDS))

test: ## all tests, with the real servers they talk to
	@.ci/setup test
	@$(BIN)/python -m pytest

faults: ## the whole fault suite, about ten minutes; its table is in build/faults.md
	@.ci/setup test
	@FAULTS=long $(BIN)/python -m pytest tests/faults --timeout 900
	@cat build/faults.md

check: setup ## format, lint, types, import contract
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## bring the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

soak: ## what takes minutes: prints the figures that the README quotes
	@.ci/setup test
	@$(BIN)/python -m pytest tests/soak -m soak -s --timeout 1800

bench: setup ## the speed tables
	@$(BIN)/defect-monitor bench cam

model: setup ## train the shipped model again into build/dagm-class1, from DAGM_ROOT and START_WEIGHTS
	$(BIN)/defect-monitor simulate --out build/simulated --frames 250 --seed 7 --defect-rate 0.35 --textures 250 --force
	$(BIN)/defect-monitor train --data $(DAGM_ROOT) --data build/simulated --classes Class1,Simulated \
		--init $(START_WEIGHTS) --out build/dagm-class1 --overwrite

lock: ## bring the lock file up to date with pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --extra demo --group dev \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

.PHONY: help setup demo test faults check format soak bench model lock
