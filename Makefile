# make run · test · sweep · lab · refresh: each sets up .venv by itself.
PYTHON ?= python3
PARAMS ?=
# for pip, such as an index of CPU builds of torch (see docs/teaching.md)
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# what makes a test or a committed output the same everywhere: CPU, no network, no run folder of yours
ALONE := env HF_HUB_OFFLINE=1 ACCELERATE_USE_CPU=yes CUDA_VISIBLE_DEVICES=

.PHONY: run test test-oldest test-newest nbval sweep lab refresh $(wildcard tests/test_*.py)
.DEFAULT_GOAL := run

# with other versions than constraints.txt says, uv finds the oldest or newest that requirements.txt admits
RESOLUTION :=
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --resolution $(RESOLUTION) -r requirements.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

$(VENV)/installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(if $(RESOLUTION),$(PIP) uv && $(UV),$(PIP) -r requirements.txt -c constraints.txt)
	@touch $@

run: $(VENV)/installed
	@$(BIN)/python run.py $(PARAMS)

sweep: $(VENV)/installed
	@$(BIN)/python run.py -p SEED 1 2 3 -p MAX_LEN 12 64 $(PARAMS)

# Two processes of one thread each, the longest parts first: faster than one after the other with two threads.
LONGEST := tests/test_series.py tests/test_run.py
TESTS := $(LONGEST) $(filter-out $(LONGEST),$(wildcard tests/test_*.py))
test: $(VENV)/installed
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 --output-sync=target nbval $(TESTS)

test-oldest test-newest: test-%:
	@$(MAKE) --no-print-directory test VENV=.venv-$* RESOLUTION=$(if $(filter oldest,$*),lowest-direct,highest)

nbval: $(VENV)/installed
	$(ALONE) $(BIN)/python -m pytest -q -x --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

$(TESTS): $(VENV)/installed
	$(ALONE) $(BIN)/python -m pytest -q $@

lab: $(VENV)/installed
	$(BIN)/jupyter lab notebooks

# re-execute in order, then normalise: the committed outputs are those of the practice corpus and minilm
refresh: $(VENV)/installed
	set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	for notebook in notebooks/*.ipynb; do \
	  $(ALONE) BERT_RUNS=$$work/runs BERT_DATA=$$work/data IPYTHONDIR=$$work/ipython \
	    $(BIN)/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace $$notebook; \
	done
	$(BIN)/nbstripout --keep-output --keep-count --drop-output-type stream:stderr \
	  --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info.version metadata.widgets" notebooks/*.ipynb
	@$(PYTHON) notebooks/stamp.py

# the badges, and where the first cell looks for the project of a copy: make badges REPOSITORY=owner/name, once
.PHONY: badges test-colab
badges:
	@$(PYTHON) notebooks/stamp.py $(if $(REPOSITORY),--repository '$(REPOSITORY)') $(if $(BRANCH),--branch '$(BRANCH)')

# each notebook opened alone, with Colab's versions, in an environment of its own (.venv-colab, 5 GB)
test-colab: $(VENV)/installed
	@$(BIN)/python tests/colab_alone.py $(if $(PIP_ARGS),--pip='$(PIP_ARGS)')
