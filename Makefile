# make run · test · sweep · lab · refresh: each sets up .venv by itself. Without make: python setup_and_run.py
PYTHON ?= python3
PARAMS ?=
# for pip, such as an index of CPU builds of torch (see docs/teaching.md)
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# what makes a committed output the same everywhere: CPU, no network, no run folder of yours
ALONE := env HF_HUB_OFFLINE=1 ACCELERATE_USE_CPU=yes CUDA_VISIBLE_DEVICES=

.PHONY: run test test-oldest test-newest nbval sweep lab refresh $(wildcard tests/test_*.py)
.DEFAULT_GOAL := run

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

# with other versions than constraints.txt says: lowest-direct or highest of those that requirements.txt admits
RESOLUTION :=

$(VENV)/installed: requirements.txt constraints.txt
	@$(PYTHON) setup_and_run.py --venv $(VENV) --pip='$(PIP_ARGS)' $(if $(RESOLUTION),--resolution $(RESOLUTION)) setup

run: $(VENV)/installed
	@$(BIN)/python setup_and_run.py --venv $(VENV) run $(PARAMS)

sweep: $(VENV)/installed
	@$(BIN)/python run.py -p SEED 1 2 3 -p MAX_LEN 12 64 $(PARAMS)

test: $(VENV)/installed
	@$(BIN)/python setup_and_run.py --venv $(VENV) test

test-oldest test-newest: test-%:
	@$(MAKE) --no-print-directory test VENV=.venv-$* RESOLUTION=$(if $(filter oldest,$*),lowest-direct,highest)

nbval: $(VENV)/installed
	@$(BIN)/python setup_and_run.py --venv $(VENV) test notebooks

$(wildcard tests/test_*.py): $(VENV)/installed
	@$(BIN)/python setup_and_run.py --venv $(VENV) test $@

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

# one zip for a stick, without a network (workshop/README.md): make bundle FOR="linux:3.11 windows:3.12 macos:3.13"
.PHONY: bundle test-bundle
FOR ?=
bundle: $(VENV)/installed
	@$(PIP) uv
	@$(BIN)/python workshop/bundle.py $(if $(PIP_ARGS),--pip='$(PIP_ARGS)') $(FOR)

# build/bert.zip, unpacked in an empty folder and run without a network
test-bundle:
	@$(PYTHON) tests/bundle.py

# site, slides, handout and the round with a browser, in an environment of their own (.venv-site)
.PHONY: site slides handout browser student solutions
SITE := .venv-site
IN_SITE := $(SITE)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
WHAT ?=
$(SITE)/installed: site/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(IN_SITE) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r $<
	@touch $@

site: $(SITE)/installed
	@$(IN_SITE) site/build.py

slides: $(SITE)/installed
	@$(IN_SITE) workshop/slides.py

handout: $(SITE)/installed
	@$(IN_SITE) workshop/handout.py

# what people see, in headless Chromium: make browser WHAT="01_setup slides site"
browser: $(VENV)/installed $(SITE)/installed $(if $(filter-out 0%,$(or $(WHAT),all)),site slides)
	@$(IN_SITE) tests/browser.py $(WHAT)

# copies of the notebooks for a class: with open exercises, and with their solutions filled in
student: $(VENV)/installed
	@$(BIN)/python notebooks/student.py student

solutions: $(VENV)/installed
	@$(BIN)/python notebooks/student.py solutions
