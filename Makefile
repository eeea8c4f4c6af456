SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The Python that makes .venv, and the one that runs everything (set PY= to use another Caffe's).
PYTHON ?= python3
VENV := .venv
PY ?= $(VENV)/bin/python
STAMP := $(VENV)/installed
# The benchmark's peers are not the product's packages and have an environment of their own.
BENCH_VENV := .venv-bench
BENCH_PY = $(if $(READY),$(BENCH_VENV)/bin/python,$(PY))
BENCH_READY = $(if $(READY),$(BENCH_VENV)/installed)
READY := $(if $(filter file undefined,$(origin PY)),$(STAMP))

SEED ?= 1
GPU ?=
ITERS ?=
DATA ?= voc
DEVICE ?= cpu
OUT ?= .
GPU_ARG = $(if $(GPU),--gpu $(GPU))
TYPED := voc_layers.py fcn_common fcn_data net_gen surgery solvers experiments oracle engine/caffe bench
# A core a test process; each computes with one thread (tests/conftest.py).
WORKERS := -n auto --maxprocesses 8 --dist worksteal
VARIANTS := voc-fcn32s voc-fcn16s voc-fcn8s voc-fcn8s-atonce voc-fcn-alexnet voc-fcn-googlenet \
	voc-fcn-googlenet16s voc-fcn-googlenet8s

.PHONY: help setup demo demo-all test test-all test-oracle $(VARIANTS) prototxts data weights infer score \
	oracle golden compatibility bench bench-setup test-bench proto lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / {printf "  make %-20s %s\n", $$1, $$2} \
	  /^\$$\(VARIANTS\):.*## / {n = split("$(VARIANTS)", v, " "); \
	  for (i = 1; i <= n; i++) printf "  make %-20s %s\n", v[i], $$2}' Makefile

setup: $(STAMP) ## install what is needed into .venv (PYTHON=python3.12 chooses the Python)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), needed Python 3.10 or newer;" \
	    "name one with make setup PYTHON=python3.12" >&2; exit 1; }
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu:" \
	    "apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV); a few minutes the first time"
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --no-input \
	  -c constraints.txt -e '.[test]' 2>&1 | tee $(VENV)/install.log \
	  | awk '/^Collecting/ {print "  " $$2; fflush()}' \
	  || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@$(VENV)/bin/python -c 'import cv2' 2>$(VENV)/cv2.log || { tail -n 1 $(VENV)/cv2.log >&2; \
	  echo "error: OpenCV lacks a system library; on Debian and Ubuntu:" \
	    "apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@

demo: $(READY) ## train and score 32s, 16s, 8s on drawn scenes: runs/demo (SEED=1 GPU=)
	@$(PY) -m solvers.demo --seed $(SEED) $(GPU_ARG)

demo-all: demo ## and the papers' experiments on one page: runs/experiments (SEED=1 GPU=)
	@$(PY) -m experiments --seed $(SEED) $(GPU_ARG)

test: lint ## the short test suite, with lint and types
	@$(PY) -m pytest $(WORKERS)

test-all: lint ## the same with the tests that take long
	@$(PY) -m pytest $(WORKERS) -m 'not oracle and not cuda and not bench'

test-oracle: $(READY) ## the tests against BVLC Caffe (make oracle first; FULL=1 for more)
	@FCN_ORACLE=required $(PY) -m pytest -m 'oracle$(if $(FULL),, and not slow)'

$(VARIANTS): $(READY) ## train up to it, only what is not done (DATA=demo ITERS=N GPU=)
	@$(PY) -m solvers.chain $@ --data $(DATA) $(if $(ITERS),--iters $(ITERS)) $(GPU_ARG)

prototxts: $(READY) ## write the prototxts of every variant folder
	@$(PY) -m net_gen

data: $(READY) ## fetch and lay out PASCAL VOC 2011 and SBD
	@$(PY) -m fcn_data fetch sbd voc2011 seg11valid

weights: $(READY) ## fetch the VGG16 classifier and the published FCN weights
	@$(PY) -m fcn_data fetch vgg16 fcn32s fcn16s fcn8s

infer: $(READY) ## segment a photograph: make infer IMAGE=photo.jpg (OUT=folder GPU=)
	@$(if $(IMAGE),,echo "error: name a photograph: make infer IMAGE=photo.jpg" >&2; exit 1)
	@$(PY) -m solvers.infer '$(IMAGE)' --out '$(OUT)' $(GPU_ARG)

score: $(READY) ## score the best weights of VARIANT=voc-fcn8s on its val split (GPU=)
	@$(PY) -m solvers.score $(or $(VARIANT),voc-fcn8s) $(GPU_ARG)

oracle: ## build a root with BVLC Caffe 1.0 to compare with
	@bash oracle/build

golden: ## record tests/golden anew from BVLC Caffe
	@oracle/caffe-python oracle/record.py

compatibility: $(READY) ## write docs/compatibility.md (FULL=1 measures against BVLC Caffe anew)
	@$(if $(FULL),$(PY) -m oracle.measure)
	@$(PY) -m oracle.compatibility

bench: $(BENCH_READY) ## time this engine beside others (DEVICE=cuda CASES= PEERS= QUICK=1)
	@$(BENCH_PY) -m bench --device $(DEVICE) $(if $(CASES),--cases '$(CASES)') \
	  $(if $(PEERS),--peers '$(PEERS)') $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(THREADS),--threads $(THREADS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(QUICK),--quick) \
	  $(if $(DOCS),--write-docs)

bench-setup: $(BENCH_READY) ## install what the benchmark compares with into .venv-bench

test-bench: $(BENCH_READY) ## the tests that need what bench-setup installs
	@$(BENCH_PY) -m pytest -m bench

# The packages of .venv are seen from .venv-bench; nothing of them is installed twice.
$(BENCH_VENV)/installed: $(STAMP) bench/requirements.txt
	@[ -x $(BENCH_VENV)/bin/python ] || $(VENV)/bin/python -m venv $(BENCH_VENV)
	@site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  product=$$($(VENV)/bin/python -c "$$site"); peers=$$($(BENCH_VENV)/bin/python -c "$$site"); \
	  echo "import site; site.addsitedir('$$product')" > "$$peers/product.pth"
	@echo "installing into $(BENCH_VENV)"
	@$(BENCH_VENV)/bin/python -m pip install --disable-pip-version-check --no-input -q \
	  -r bench/requirements.txt
	@touch $@

proto: $(READY) ## generate caffe_pb2.py from engine/caffe/proto/caffe.proto
	@$(PY) engine/caffe/proto/generate.py

lint: $(READY) ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy $(TYPED)

format: $(READY) ## lay out the Python files
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean: ## remove the demo's runs and caches; downloads, data, snapshots stay
	@rm -rf runs/demo .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
