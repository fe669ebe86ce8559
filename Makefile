# `make demo` and `make test` need Python 3.11 to 3.13 and make; everything else they install into .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLIP ?= out/demo.mp4
export CLIP
OUT ?= out
.DEFAULT_GOAL := help
.PHONY: help install demo serve test lint format types system lock clean

help: ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Everything that a program of this project needs to run.
SETUP := $(VENV)/.installed preprocess/data/.checked model_repository/.built

install: $(SETUP) ## Set everything up, start nothing

# Only the made clip is a target: make cannot name files with spaces.
demo: $(SETUP) $(if $(filter-out out/demo.mp4,$(CLIP)),,out/demo.mp4) ## Serve the detector, judge a clip (CLIP=...), leave out/report.html and out/verdict.json
	@test -e "$$CLIP" || { echo "there is no clip $$CLIP; give the path of a video: make demo CLIP=..." >&2; exit 1; }
	@mkdir -p $(OUT)
	$(BIN)/unmask detect "$$CLIP" --report $(OUT)/report.html --report $(OUT)/verdict.json
	@echo "open $(OUT)/report.html; the same for programs: $(OUT)/verdict.json"

serve: $(SETUP) ## Serve until Ctrl+C: gRPC on 8001, HTTP on 8000, metrics on 8002
	$(BIN)/unmask serve

test: $(SETUP) ## Run the tests; they start real servers on free ports
	@deploy/test-packages.sh
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.installed ## Find mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed ## Check the types
	$(BIN)/mypy

# Shared libraries that wheels expect from the system; Debian and Ubuntu have them under these names.
system:
	@deploy/system-packages.sh $(PYTHON)

$(VENV)/.installed: requirements/lock.txt pyproject.toml
	@$(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

preprocess/data/.checked: preprocess/face_models.py | $(VENV)/.installed
	$(BIN)/python -m preprocess.face_models
	@touch $@

model_repository/.built: $(wildcard export/*.py weights/*) client/model_info.py | $(VENV)/.installed
	$(BIN)/unmask export
	@touch $@

out/demo.mp4: tests/clips.py | $(VENV)/.installed
	@mkdir -p out
	$(BIN)/python -m tests.clips --demo $@

lock: $(VENV)/.installed ## Write down the versions that are installed
	$(BIN)/python -m pip freeze --exclude-editable --all | grep -v '^pip=' | sed 's/+cpu//' > requirements/lock.txt

clean: ## Remove what was built, but not .venv
	rm -rf out build model_repository/.built model_repository/*/[0-9]* preprocess/data/.checked preprocess/data/*.tflite
