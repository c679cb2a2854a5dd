# Two commands for a fresh machine: `make demo` and `make test`. README.md shows the same lines for people without make.
PYTHON ?= python3
VENV   ?= .venv
RUN     = OMP_NUM_THREADS=1 $(VENV)/bin/python

demo: $(VENV)/.installed
	$(RUN) train.py --cfg demo --outdir runs
	$(RUN) gen_samples.py --network runs --seeds 0-7 --grid 4x2 --yaw 40 --resolution 64 --depth --video --frames 60 --shapes glb --shape-res 64

test: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 -m slow

# On a machine with a GPU: every kernel beside its twin, then again under NVIDIA's checkers of memory and of races.
test-gpu: $(VENV)/.installed-tests
	$(RUN) -m pytest -m gpu
	compute-sanitizer --tool memcheck --error-exitcode 1 $(VENV)/bin/python -m pytest -m gpu -x tests/custom_ops
	compute-sanitizer --tool racecheck --error-exitcode 1 $(VENV)/bin/python -m pytest -m gpu -x tests/custom_ops

# Without an NVIDIA driver the CPU build of torch is taken: from the configured package index where it has one, else from PyTorch's own.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	command -v nvidia-smi >/dev/null || $(VENV)/bin/pip install -q torch==2.13.0+cpu \
		|| $(VENV)/bin/pip install -q torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
	$(VENV)/bin/pip install -q -c constraints.txt -e ".[mesh,video,log]"
	touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	$(VENV)/bin/pip install -q -c constraints.txt -e ".[mesh,video,log,test]"
	touch $@

.PHONY: demo test test-slow test-gpu
