# The words that people, hooks and CI use. `make demo` and `make test` need nothing but Python 3.11.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DO_NOT_TRACK := 1
# Else each command compiles its libraries anew: half of the time of a small stage, and of `dvc repro`.
unexport PYTHONDONTWRITEBYTECODE
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_API_URL ?= http://127.0.0.1:4200/api
export PREFECT_CLIENT_MAX_RETRIES ?= 8 # minutes, in which a restarted server comes back

SOURCES = --glue-dir "$(GLUE_DIR)" --corpus "$(CORPUS)" --glove "$(GLOVE)" --profile "$(PROFILE)"
SHAPES ?= bert
SUBJECTS ?=
RUNS ?=
SYSTEM ?=
TASK ?=
REPO ?=

.DEFAULT_GOAL := help
.PHONY: help committed install doctor demo glue show table submission bundle choose push server serve ui deploy worker sweep ablation verify bench bench-service test test-all check format clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or set PYTHON"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, got $$($(PYTHON) --version); set PYTHON"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@# Two at once, each for some of the pinned packages: half of the time is pip unpacking on one core.
	xargs -P 2 -n 32 $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile < requirements.lock
	@touch $@

# DVC's own words for it do not say what to do; and the packages need minutes.
committed:
	@command -v git >/dev/null || { echo "make: git not found; install it"; exit 1; }
	@git rev-parse --quiet --verify HEAD >/dev/null 2>&1 || { echo "make: DVC needs a git repository with a commit, got none; \`git init && git add -A && git commit -m start\`"; exit 1; }

install: $(VENV)/.installed ## Make .venv with every package of requirements.lock

doctor: install ## Check teacher, labels, vocabulary, lengths, room and time before a run: [SYSTEM=a] [TASK=b]
	@python -m stages._doctor --system "$(SYSTEM)" --task "$(TASK)"

demo: committed install ## Run the embedded demo pipeline and print its table: [SLOTS=trainings at once]
	@grep -q '^profile: demo' params.yaml || { echo "make demo: params.yaml selects another profile; \`git checkout params.yaml\` first"; exit 1; }
	python -m flows.side_by_side $(if $(SLOTS),--slots $(SLOTS))
	@python -m stages.report show

glue: committed install ## Run real GLUE tasks: GLUE_DIR=folder CORPUS=folder [GLOVE=file] [GROUP=small] [PROFILE=name] [TASKS=a,b] [SYSTEMS=a,b] [SLOTS=n]
	@python -m flows.glue $(SOURCES) --group "$(GROUP)" --tasks "$(TASKS)" --systems "$(SYSTEMS)" $(if $(SLOTS),--slots $(SLOTS))
	@python -m stages.report show

show: install ## Print the table of the last run
	@python -m stages.report show

table: install ## Print this run's scores beside the paper's, each checked: [RUNS="folder ..."] for means over runs
	@python -m stages.report table $(RUNS)

submission: install ## Pack GLUE's submission of one system, or say what is missing: SYSTEM=tinybert4
	@test -n "$(SYSTEM)" || { echo "make submission: SYSTEM is missing; name one of params.yaml's systems"; exit 1; }
	@python -m stages.report submission "$(SYSTEM)"

bundle: install ## Make a folder that serves a student without PyTorch: SYSTEM=closed_form_mini TASK=mrpc
	@python -m stages._handover bundle $(SYSTEM) $(TASK)

choose: install ## Choose a student by milliseconds: TASK=mrpc MS=5 [SYSTEM=name] [THREADS=1] [LENGTH=64] [ENGINE=onnx_int8] [NAME=mine]
	@test -n "$(TASK)" -a -n "$(MS)" || { echo "make choose: TASK or MS is missing; right is TASK=mrpc MS=5"; exit 1; }
	@python -m stages._choose --task "$(TASK)" --ms "$(MS)" $(if $(THREADS),--threads $(THREADS)) $(if $(LENGTH),--length $(LENGTH)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(SYSTEM),--system $(SYSTEM)) $(if $(NAME),--name $(NAME))

push: install ## Upload a student, its ONNX files and card to the hub: SYSTEM=name TASK=name REPO=user/name
	@python -m stages._handover push $(SYSTEM) $(TASK) $(REPO)

server: install ## Start Prefect (port 4200) and MLflow (port 5000) on this machine
	@exec python -m flows.servers

ui: install ## Start MLflow alone, on http://127.0.0.1:5000
	@exec python -m flows.servers --only mlflow

serve: install ## Serve tinybert/full and the flow of each step, for `prefect deployment run`
	@exec python -m flows.serve

deploy: install ## Make the work pool and prefect.yaml's deployments, for more machines
	@python -m flows.servers --wait
	prefect work-pool create tinybert --type process --overwrite
	prefect --no-prompt deploy --all

worker: install ## Run what the work pool asks for, in this clone
	@python -m flows.servers --wait
	TINYBERT_WORKSPACE="$(CURDIR)" prefect worker start --pool tinybert --type process --limit 1

sweep: committed install ## Run one value after the other: KEY=loss.attn_weight VALUES=0,0.5,1 [VIA=prefect]
	@test -n "$(KEY)" || { echo "make sweep: KEY is missing; name a parameter, as in KEY=loss.attn_weight"; exit 1; }
	@test -n "$(VALUES)" || { echo "make sweep: VALUES is missing; give them as in VALUES=0,0.5,1"; exit 1; }
	@python -m flows.sweep "$(KEY)" "$(VALUES)" $(VIA)

ablation: committed install ## Run ablations beside the paper's: [TASKS=a,b] [GROUPS=phases,loss_terms,layer_maps] [SYSTEM=name] [PROFILE=name] [GLUE_DIR=folder] [CORPUS=folder] [GLOVE=file] [VIA=prefect]
	@python -m flows.ablation $(SOURCES) --groups "$(GROUPS)" --tasks "$(TASKS)" --system "$(SYSTEM)" --via "$(or $(VIA),dvc)"

verify: install ## Hash every cached output; remove what is corrupted, so that `dvc repro` makes it anew
	@python -m flows.cache

bench: install ## Measure speed and memory: [GLUE_DIR=folder] [CORPUS=folder] [SHAPES=bert|minilm] [SUBJECTS="..."]
	python -m benchmarks $(SUBJECTS) --shapes $(SHAPES) $(if $(GLUE_DIR),--glue "$(GLUE_DIR)") $(if $(CORPUS),--corpus "$(CORPUS)")

bench-service: install ## Measure a bundle's service beside MLflow's: SYSTEM=name TASK=name
	@python -m benchmarks.service $(SYSTEM) $(TASK)

test: install ## Run the fast tests, in minutes
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile

test-all: install ## Run every test, the real `dvc repro` included
	OMP_NUM_THREADS=1 python -m pytest -m "slow or not slow"

check: install ## Lint, format, types, params and dvc.yaml
	ruff check .
	ruff format --check .
	mypy
	python -m stages._check_params
	dvc stage list > /dev/null

format: install ## Put the code into the project's format
	ruff check --fix .
	ruff format .

clean: ## Remove unfinished checkpoints and partial outputs
	rm -rf checkpoints
	find data models reports -name '*.partial' -prune -exec rm -rf {} + 2>/dev/null || true
