# Two commands on a fresh machine: `make demo` and `make test`. Both set up all that they need.

BIN := .venv/bin
PYTHON ?= python3
SECONDS ?=
HOURS ?= 4
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

faults: ## the whole fault suite, about an hour; its tables are in build/faults*.md and build/pace.md
	@.ci/setup test
	@FAULTS=long $(BIN)/python -m pytest tests/faults --timeout 900
	@cat build/faults.md build/pace.md build/faults-cameras.md build/faults-growth.md

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
	@$(BIN)/python -m pytest tests/soak -m soak -s --timeout 1800 --ignore tests/soak/test_hours.py

soak-hours: ## HOURS=4 of the daemon with a fault every minute; the table is build/hours.md
	@.ci/setup test
	@HOURS=$(HOURS) $(BIN)/python -m pytest tests/soak/test_hours.py -m soak -s

bench: setup ## the speed tables, into build/bench; takes about an hour and wants the machine for itself
	@$(BIN)/defect-monitor bench classify --out build/bench
	@$(BIN)/defect-monitor bench start --out build/bench
	@$(BIN)/defect-monitor bench cam --out build/bench
	@$(BIN)/defect-monitor bench pipeline --out build/bench

model: setup ## train the shipped model again into build/dagm-class1, from DAGM_ROOT and START_WEIGHTS
	$(BIN)/defect-monitor simulate --out build/simulated --frames 250 --seed 7 --defect-rate 0.35 --textures 250 --force
	$(BIN)/defect-monitor train --data $(DAGM_ROOT) --data build/simulated --classes Class1,Simulated \
		--init $(START_WEIGHTS) --out build/dagm-class1 --overwrite
	$(BIN)/defect-monitor simulate --out build/references --frames 60 --seed 11 --defect-rate 0.4 --textures 60 --force
	$(BIN)/python -m monitor.learning.train.reference_images build/dagm-class1 build/references  # DAGM's pictures stay out

test-systemd: setup ## as root: the service on a real systemd in a container, about ten minutes; its log is build/systemd.log
	@$(BIN)/python -m pytest tests/systemd -m systemd -x

# The one unit on settings of its own: everything that bears a name gets the instance's.
deploy/systemd/defect-monitor@.service: deploy/systemd/defect-monitor.service
	@sed -e '1,2c # The daemon on /etc/defect-monitor/NAME.toml as defect-monitor@NAME.service. Made of defect-monitor.service.' \
		-e 's/^Description=.*/& (%i)/' -e 's|/line\.toml|/%i.toml|g' -e 's|^SyslogIdentifier=.*|&-%i|' \
		-e 's,^\(State\|Cache\)Directory=.*,&/%i,' -e 's|/var/cache/defect-monitor|&/%i|g' $< > '$@'

install: ## as root: the service, with a release under /opt; WHEELS=build/wheels does without a network
	@deploy/install.sh install

rollback: ## as root: back to the release before
	@deploy/install.sh rollback

uninstall: ## as root: takes it away but for settings and data
	@deploy/install.sh uninstall

wheels: ## all that `make install` needs, into build/wheels, for machines without a network
	@mkdir -p build/wheels
	@$(PYTHON) -m pip download --quiet --no-deps --require-hashes -r deploy/runtime.lock -d build/wheels

units: deploy/systemd/defect-monitor@.service ## the unit for several lines, made of the one for a single line

dashboards: setup ## Grafana's dashboards anew, from deploy/grafana/*.py
	@$(BIN)/python -m deploy.grafana.build

pictures: ## the README's pictures of them: six minutes of the demo, on a machine that does nothing else
	@.ci/setup test
	@$(BIN)/python -m pip install --quiet matplotlib
	@$(BIN)/python -m tests.observe.pictures 180 180

lock: ## bring the lock files up to date with pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --extra demo --extra openvino --group dev \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --constraint requirements.lock \
		--no-annotate --extra openvino --custom-compile-command 'make lock' --output-file deploy/runtime.lock pyproject.toml

.PHONY: help setup demo test test-systemd faults check format soak soak-hours bench model install rollback uninstall wheels units dashboards pictures lock
