SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The Python that makes .venv, and the one that runs everything (PY= names another Caffe's).
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/installed
READY := $(if $(filter undefined,$(origin PY)),$(STAMP))
PY ?= $(VENV)/bin/python
# The benchmark's peers are not the product's packages and have an environment of their own.
BENCH_VENV := .venv-bench
BENCH_PY = $(if $(READY),$(BENCH_VENV)/bin/python,$(PY))
BENCH_READY = $(if $(READY),$(BENCH_VENV)/installed)

TYPED := voc_layers.py pascalcontext_layers.py siftflow_layers.py nyud_layers.py score.py vis.py fcn_common fcn_data net_gen \
	surgery solvers experiments oracle engine/caffe bench zoo
# One test process more than cores; each computes with one thread (tests/conftest.py).
WORKERS := -n auto --maxprocesses 8 --dist worksteal
# The tests that need neither BVLC Caffe nor a device nor the benchmark's peers.
OFFLINE := not oracle and not cuda and not bench
# mypy uses one core, so the tests run beside it; its output follows theirs.
tests_beside_types = "$$PY" -m ruff check .; "$$PY" -m ruff format --check .; \
	types=$$(mktemp); trap 'rm -f "$$types"' EXIT; \
	"$$PY" -m mypy $(TYPED) > "$$types" 2>&1 & checker=$$!; status=0; \
	"$$PY" -m pytest $(WORKERS) $(1) || status=$$?; \
	wait $$checker || status=$$?; cat "$$types"; exit $$status
VARIANTS := $(patsubst %/,%,$(dir $(wildcard *-fcn*/solver.prototxt)))

# Values from the user reach the shell through the environment, as they were typed: a quote, a space
# or a $ in a value is not part of a command. In the recipes $(call options,GPU:gpu) becomes
# `--gpu VALUE` if GPU is set, and $(call flags,QUICK:quick) becomes `--quick`.
VALUES := BASELINE BASE_URL BATCH CASES CHANNELS CLASSES CLASS_WEIGHTS CONTEXT_DIR CROP CSV DATA DEMO DEMO_DATA DEVICE \
	DIFF DOCS DROPOUT EXPERIMENTS FIX_CROPS FOLDER GPU HTML IGNORE_LABEL IMAGE IMAGES INPUT ITERS JOBS JSON \
	KILLS LABELMAP LABEL_VALUES LAYERS LEVEL LONG_SIDE LR MARKDOWN MASKS MEAN MEMORY MINUTES MIRROR NET NPY \
	NYUD_DIR ONLY ONNX ON_ERROR OUT PAD PEERS PHASE POWER PROPOSE QUICK ROUNDS RUN SBDD_DIR SCALE SECONDS SEED \
	SIFTFLOW_DIR SINGLE SOLVER STAGE TARGET THREADS TILE TO TRAIN_SPLIT VAL_SPLIT VARIANT VOC_DIR WEIGHTS WIDTH
$(foreach name,$(VALUES),$(if $(value $(name)),$(eval override export $(name) := $$(value $(name)))))
export PYTHON PY BENCH_PY
first = $(word 1,$(subst :, ,$(1)))
second = $(word 2,$(subst :, ,$(1)))
options = $(foreach pair,$(1),$${$(call first,$(pair)):+--$(call second,$(pair)) "$$$(call first,$(pair))"})
flags = $(foreach pair,$(1),$${$(call first,$(pair)):+--$(call second,$(pair))})

.PHONY: help setup native demo demo-all test test-long test-all test-oracle fuzz torture $(VARIANTS) prototxts data train \
	check own-data weights infer score inspect export oracle golden compatibility zoo bench bench-setup test-bench proto lint format clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / {printf "  make %-20s %s\n", $$1, $$2} \
	  /^\$$\(VARIANTS\):.*## / {n = split("$(VARIANTS)", v, " "); \
	  for (i = 1; i <= n; i++) printf "  make %-20s %s\n", v[i], $$2}' Makefile

setup: $(STAMP) ## install the product and its packages into .venv (PYTHON=python3.12)

$(STAMP): pyproject.toml constraints.txt $(wildcard engine/caffe/native/*.[ch])
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "error: $$PYTHON is $$("$$PYTHON" --version 2>&1), needs Python 3.10 or newer;" \
	    "name one with make setup PYTHON=python3.12" >&2; exit 1; }
	@[ -x $(VENV)/bin/python ] || "$$PYTHON" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $$PYTHON cannot make a virtual environment; on Debian and Ubuntu:" \
	    "apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV); a few minutes the first time"
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --no-input \
	  -c constraints.txt -e '.[test]' 2>&1 | tee $(VENV)/install.log \
	  | awk '/^Collecting/ {print "  " $$2; fflush()}' \
	  || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@$(VENV)/bin/python -c 'import cv2' 2>$(VENV)/cv2.log || { tail -n 1 $(VENV)/cv2.log >&2; \
	  echo "error: OpenCV lacks a system library; on Debian and Ubuntu:" \
	    "apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	@$(VENV)/bin/python -m compileall -q $(filter-out %.py,$(TYPED))
	@touch $@

native: $(READY) ## compile the engine's C library, as setup does (CC=)
	@"$$PY" engine/packing/native_library.py

demo: $(READY) ## train and score 32s, 16s, 8s on drawn scenes: runs/demo (SEED=1 GPU=)
	@"$$PY" -m solvers.demo $(call options,SEED:seed OUT:out DEMO_DATA:data GPU:gpu SCALE:scale)

demo-all: $(READY) ## the demo and the papers' experiments: runs/experiments (SEED=1 GPU=)
	@"$$PY" -m solvers.demo $(call options,SEED:seed DEMO:out DEMO_DATA:data GPU:gpu SCALE:scale)
	@"$$PY" -m experiments $${EXPERIMENTS-} \
	  $(call options,SEED:seed OUT:out DEMO:demo GPU:gpu) $(call flags,DOCS:docs)

test: $(READY) ## the short test suite, with lint and types
	@$(call tests_beside_types,)

test-long: $(READY) ## the tests marked long: experiments, killed and parallel trainings
	@"$$PY" -m pytest $(WORKERS) -m '$(OFFLINE) and long and not slow'

fuzz: $(READY) ## mutated files for every reader (MINUTES=1 CASES= SEED= TARGET= JOBS=)
	@"$$PY" -m tests.fuzz $(call options,MINUTES:minutes CASES:cases SEED:seed TARGET:target JOBS:jobs \
	  OUT:out)

torture: $(READY) ## kills, power loss, long runs, fuzzing (MINUTES= KILLS= POWER=)
	@"$$PY" -m tests.torture $(call options,MINUTES:minutes KILLS:kills POWER:power STEPS:steps \
	  IMAGES:images SEED:seed)

test-all: $(READY) ## the test suite with the long and the slow tests
	@$(call tests_beside_types,-m '$(OFFLINE)')

test-oracle: $(READY) ## the tests against BVLC Caffe (after make oracle; FULL=1 for more)
	@FCN_ORACLE=required "$$PY" -m pytest -m 'oracle$(if $(FULL),, and not slow)'

$(VARIANTS): $(READY) ## train up to it, only what is not done (DATA=demo ITERS=N GPU=)
	@"$$PY" -m solvers.chain $@ $(call options,DATA:data ITERS:iters IMAGES:images GPU:gpu)

prototxts: $(READY) ## write the prototxts of every variant folder (VARIANT= OUT=)
	@"$$PY" -m net_gen $${VARIANT:+"$$VARIANT"} $(call options,OUT:out CLASSES:classes WIDTH:width \
	  CHANNELS:channels SBDD_DIR:sbdd-dir VOC_DIR:voc-dir CONTEXT_DIR:context-dir \
	  SIFTFLOW_DIR:siftflow-dir NYUD_DIR:nyud-dir TRAIN_SPLIT:train-split \
	  VAL_SPLIT:val-split SEED:seed MEAN:mean DROPOUT:dropout PAD:pad \
	  ON_ERROR:on-error)

data: $(READY) ## fetch and lay out a data set: PASCAL VOC 2011 with SBD (DATA=voc)
	@"$$PY" -m fcn_data fetch "$${DATA:-voc}" $(call options,BASE_URL:base-url)

weights: $(READY) ## fetch the VGG16 classifier and the published FCN weights
	@"$$PY" -m fcn_data fetch vgg16 fcn32s fcn16s fcn8s $(call options,BASE_URL:base-url)

train: $(READY) ## train on your own pictures: DATA=my_set (OUT=my_run VARIANT= GPU=)
	@[ -n "$${DATA-}" ] || { \
	  echo "error: name a folder of pictures and labels: make train DATA=my_set" >&2; exit 1; }
	@"$$PY" -m solvers.train "$$DATA" $(call options,OUT:out VARIANT:variant WIDTH:width \
	  WEIGHTS:weights LAYERS:layers CLASSES:classes LABELMAP:labelmap CHANNELS:channels MEAN:mean \
	  IGNORE_LABEL:ignore-label LR:lr SOLVER:solver CLASS_WEIGHTS:class-weights CROP:crop \
	  LABEL_VALUES:label-values SCALE:scale BATCH:batch ITERS:iters IMAGES:images SEED:seed GPU:gpu \
	  ON_ERROR:on-error) $(call flags,MASKS:masks SINGLE:single MIRROR:mirror)

check: $(READY) ## check a folder of your own pictures and labels: DATA=my_set
	@[ -n "$${DATA-}" ] || { \
	  echo "error: name a folder of pictures and labels: make check DATA=my_set" >&2; exit 1; }
	@"$$PY" -m solvers.check "$$DATA" $(call options,CLASSES:classes LABELMAP:labelmap \
	  CHANNELS:channels IGNORE_LABEL:ignore-label LABEL_VALUES:label-values SEED:seed \
	  PROPOSE:propose) $(call flags,MASKS:masks)

own-data: $(READY) ## compare own pictures in every layout and format: runs/own-data
	@"$$PY" -m experiments.own_data $(call options,OUT:out ITERS:iters ONLY:only GPU:gpu)

infer: $(READY) ## segment pictures or videos: IMAGE=photo.jpg (RUN=my_run OUT=)
	@[ -n "$${IMAGE-}" ] || { \
	  echo "error: name a photograph: make infer IMAGE=photo.jpg" >&2; exit 1; }
	@"$$PY" -m solvers.infer "$$IMAGE" $(call options,RUN:run NET:net WEIGHTS:weights \
	  VARIANT:variant OUT:out GPU:gpu LONG_SIDE:long-side MEAN:mean CLASSES:classes NPY:npy \
	  TILE:tile MEMORY:memory) $(call flags,JSON:json)

score: $(READY) ## score trained weights on their val split (RUN= VARIANT= WEIGHTS=)
	@"$$PY" -m solvers.score $${VARIANT:+"$$VARIANT"} $(call options,RUN:run NET:net \
	  WEIGHTS:weights IMAGES:images OUT:out GPU:gpu)

export: $(READY) ## a trained run as an ONNX model: RUN=my_run (TO=safetensors OUT= STAGE=)
	@"$$PY" -m solvers.export $(call options,RUN:run TO:to OUT:out STAGE:stage)

inspect: $(READY) ## show what a prototxt means: NET=voc-fcn8s (INPUT=375x500 HTML=)
	@[ -n "$${NET-}" ] || { \
	  echo "error: name a prototxt or its folder: make inspect NET=voc-fcn8s" >&2; exit 1; }
	@"$$PY" -m caffe inspect "$$NET" $(call options,INPUT:input PHASE:phase STAGE:stage LEVEL:level \
	  SOLVER:solver WEIGHTS:weights \
	  HTML:html DIFF:diff FIX_CROPS:fix-crops) $(call flags,JSON:json MARKDOWN:markdown CSV:csv)

oracle: ## build a root with BVLC Caffe 1.0 to compare with
	@bash oracle/build

golden: ## record the numbers in tests/golden from BVLC Caffe
	@oracle/caffe-python oracle/record.py

compatibility: $(READY) ## write docs/compatibility.md (FULL=1 measures against BVLC Caffe first)
	@$(if $(FULL),"$$PY" -m oracle.measure)
	@"$$PY" -m oracle.compatibility

zoo: $(READY) ## build and compare nets of Caffe's forks (DOCS=1, ONNX=1 write the pages)
	@"$$PY" -m zoo$(if $(ONNX),.export.page,$(if $(DOCS),.page))

bench: $(BENCH_READY) ## time this engine beside others (DEVICE= CASES= PEERS= BASELINE= QUICK=1)
	@"$$BENCH_PY" -m bench $(call options,DEVICE:device CASES:cases PEERS:peers ROUNDS:rounds \
	  THREADS:threads SECONDS:seconds MINUTES:minutes FOLDER:folder OUT:out BASELINE:baseline) \
	  $(call flags,QUICK:quick DOCS:write-docs)

bench-setup: $(BENCH_READY) ## install the benchmark's peers into .venv-bench

test-bench: $(BENCH_READY) ## the tests that need the benchmark's peers
	@"$$BENCH_PY" -m pytest -m bench

# .venv-bench sees the packages of .venv, so that they are not installed twice.
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
	@"$$PY" engine/caffe/proto/generate.py

lint: $(READY) ## ruff and mypy
	@"$$PY" -m ruff check .
	@"$$PY" -m ruff format --check .
	@"$$PY" -m mypy $(TYPED)

format: $(READY) ## format the Python files
	@"$$PY" -m ruff check --fix .
	@"$$PY" -m ruff format .

clean: ## remove the demo's runs and caches; downloads, data and snapshots stay
	@rm -rf runs/demo .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
