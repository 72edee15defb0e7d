# Everything a newcomer needs is one of: make demo, demo-docker, test, e2e, soak, lint, bench, fuzz, simulate, down.
# A maintainer also needs: make e2e-windows, seeds, lock, release, rebuild, sign, verify.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLUGIN := operator/cni-plugin
BOX := e2e/box

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(READY) ## The Python environment, from the lock file

$(READY): requirements/dev.txt e2e/prepare
	e2e/prepare $(VENV)
	touch $@

.PHONY: demo
demo: $(READY) ## A two-node cluster on this machine, with pods on addresses of a (fake) Azure VNet, shown
	$(BOX) demo

.PHONY: demo-docker
demo-docker: $(READY) ## Containers of Docker on addresses of that VNet, on two VMs without Kubernetes, shown
	$(BOX) demo-docker $(ARGS)

.PHONY: down
down: $(READY) ## Take away what `make demo`, `demo-docker` or `e2e` made, without a trace
	$(BOX) down

# Kernels, servers and time share the machine with other work: up to three tests that fail get a second attempt, alone,
# and the run names those that passed only then. make e2e-full gives none.
define attempt
	$(1) || { test $$? -eq 75 && $(1) --last-failed --last-failed-no-failures none; }
endef

# The data plane's tests have namespaces of their own, and wait for traffic more than they compute.
.PHONY: test
test: $(READY) ## Unit, property, contract and data plane tests (the last need root, and say so without it)
	@test "$$(id -u)" -ne 0 || $(BOX) packages
	@$(BOX) tools
	$(call attempt,$(BIN)/pytest --second-attempt --numprocesses auto --dist loadfile tests/unit tests/property tests/contract)
	$(call attempt,$(BIN)/pytest --second-attempt --numprocesses 4 --dist loadfile tests/datapath)
	$(BOX) go -C $(PLUGIN) test ./...

.PHONY: crash
crash: $(READY) ## Agent, controller and Docker plugin killed at every step of every verb, not at a sample as in `make test`
	@test "$$(id -u)" -ne 0 || $(BOX) packages
	$(BIN)/pytest -rP --every-crash --numprocesses auto tests/property/test_crash_at_every_step.py tests/property/test_crash_of_controllers.py tests/property/test_docker_faults.py tests/datapath/test_crash_of_files.py tests/datapath/test_crash_of_the_kernel.py tests/datapath/test_crash_of_the_agent.py tests/property/test_crossing_verbs.py

# What is slow and rarely breaks: only `make e2e-full` runs it.
SLOW := attacks or sandboxes_without_a_pod or older_sandbox or (test_21_services and nftables) or test_23_dns or test_24_ingress or test_26_node_and_path or test_27_host_conflicts or test_3 or (test_4 and not test_47) or test_5 or test_recall

.PHONY: e2e
e2e: $(READY) ## The scenarios on the box but the slow ones; pools also where the controller writes the NICs; five minutes of soak
	$(call attempt,$(BOX) scenarios -v -k "not ($(SLOW))")
	$(call attempt,$(BOX) scenarios -v --nic-writer controller -k "test_03_pool")
	$(BOX) soak --minutes 5 --warm-seconds 10 --seed 1

# Neither who writes the NICs nor the runtime has a part in these.
APART := test_13 or test_14 or test_15 or test_16 or test_17 or test_19 or test_2 or test_33 or test_34 or test_35 or test_36 or test_37 or test_38 or test_39 or test_4

.PHONY: e2e-full
e2e-full: $(READY) ## The image twice and for arm64, a signed release, all scenarios, Kubernetes' own specs and a soak in both modes, most with controller or containerd 1.6 too, 90 more seeds: over 3 hours
	$(BOX) down
	$(BOX) image --twice
	$(BOX) image --arm64
	$(MAKE) --no-print-directory verify
	$(BOX) tools cyclonus karpenter multus
	$(BIN)/pytest tests/contract/test_policy_engine.py tests/contract/test_autoscaler_taint.py tests/datapath/test_beside_multus.py
	$(BOX) scenarios -v --mode bridge
	$(BOX) soak --minutes 10 --mode bridge
	$(BOX) policy --mode bridge --every 5
	$(BOX) specs --mode bridge
	$(BOX) scenarios -v --mode transparent --attack-rounds 4 --docker-rounds 20
	$(BOX) soak --minutes 10 --mode transparent
	$(BOX) policy --mode transparent --every 5
	$(BOX) specs --mode transparent
	$(BOX) scenarios -v --docker 29 -k "test_40_docker or test_46"
	$(BOX) scenarios -v --nic-writer controller -k "not ($(APART))"
	$(BOX) down
	$(BOX) up --runtime containerd-1.6
	$(BOX) scenarios -v -k "not ($(APART))"
	$(BOX) down
	$(BOX) up --dual-stack
	$(BOX) scenarios -v --mode bridge -k "test_49 or test_50 or test_53 or test_54"
	$(BOX) scenarios -v --mode transparent -k "test_53"
	$(BOX) specs --mode transparent --focus IPv6DualStack
	$(BOX) specs --mode bridge --focus IPv6DualStack
	$(BOX) down
	PYTHONPATH=operator:e2e $(BIN)/python -m simulation ci --seeds 11-100
	PYTHONPATH=operator:e2e $(BIN)/python -m simulation mixed --seeds 1-10

.PHONY: e2e-windows
e2e-windows: $(READY) ## The agent and plugin of a Windows node under Wine, with a stand-in for HNS (needs root); ARGS are pytest's
	PYTHONPATH=operator:tests:e2e $(BIN)/python -m windows $(ARGS)

.PHONY: soak
soak: $(READY) ## Pods that come and go on the box while faults happen, by a seed; half an hour, or ARGS="--minutes 5 --mode bridge --seed 7"
	$(BOX) soak $(ARGS)

.PHONY: bench
bench: $(READY) ## CNI ADD and DEL beside the reference plugins, as ratios (needs root); ARGS=speed: what a packet pays; ARGS=docker: containers; ARGS=cli: azure-cni; ARGS=kubelet: pods and nodes of the box
	$(BOX) bench $(ARGS)

.PHONY: wheel
wheel: $(READY) ## dist/*.whl, for `pipx install` and `uv tool install`
	$(BIN)/uv build -q --wheel --build-constraints requirements/build.txt --require-hashes -o dist .

.PHONY: zipapp
zipapp: $(READY) ## dist/azure-cni: the command line and all that it needs in one file
	PYTHONPATH=operator $(BIN)/python -m single_file.build dist

.PHONY: seeds
seeds: $(READY) ## A dozen seeds of the simulation
	$(MAKE) --no-print-directory simulate ARGS="ci --seeds 1-10"
	$(MAKE) --no-print-directory simulate ARGS="mixed --seeds 1-2"

.PHONY: simulate
simulate: $(READY) ## Many nodes, real controllers and API server, a fake Azure: the limits, looked at (ARGS=--help)
	@test "$$(id -u)" -ne 0 || $(BOX) packages
	PYTHONPATH=operator:e2e $(BIN)/python -m simulation $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## A million odd inputs for the plugin and for each reader; ARGS="--inputs 1000 --seed 7 --only plugin"
	PYTHONPATH=operator:tests:e2e $(BIN)/python -m property $(ARGS)

.PHONY: lint
lint: $(READY) ## ruff, mypy, import-linter, deptry, gofmt, go vet, helm lint, actionlint
	@test -z "$$(git ls-files $(VENV))" || { echo "$(VENV) is in the repository: git rm --cached $(VENV)"; exit 1; }
	$(BIN)/ruff check operator tests e2e docs
	$(BIN)/ruff format --check operator tests e2e docs
	$(BIN)/mypy
	PYTHONPATH=operator $(BIN)/lint-imports
	$(BIN)/deptry operator/azure_cni
	@unformatted="$$($(BOX) gofmt -l $(PLUGIN))"; test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(BOX) go -C $(PLUGIN) vet ./...
	GOOS=windows $(BOX) go -C $(PLUGIN) vet ./...
	@for target in linux/amd64 linux/arm64 windows/amd64; do \
		echo "go build $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(BOX) go -C $(PLUGIN) build -o /dev/null .; \
	done
	$(BOX) helm lint charts/azure-cni
	$(BOX) actionlint

DOCS := build/docs-venv

$(DOCS)/.ready: requirements/docs.txt | $(READY)
	$(BIN)/python -m venv --clear $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/docs.txt
	touch $@

.PHONY: docs
docs: $(DOCS)/.ready ## The documentation as a site to open from the disk, links and anchors checked
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict # with --quiet no warning would count, and none fail it
	@echo "open build/site/index.html"

.PHONY: deb
deb: $(READY) ## The Debian package of `azure-cni docker`, in dist/; ARGS=--revision=2 for the next of one version
	PYTHONPATH=operator $(BIN)/python -m debian_package.build $(ARGS)

RELEASE := PYTHONPATH=operator $(BIN)/python -m release.make $(if $(OUTPUT),--output $(OUTPUT)) $(if $(IMAGE),--image)

.PHONY: release
release: $(READY) ## A release of the last commit, VERSION=0.2.0, into dist/0.2.0 or OUTPUT=FOLDER; IMAGE=yes: with the image for amd64 and arm64 (root); nothing is pushed
	$(RELEASE) "$(VERSION)"

.PHONY: rebuild
rebuild: $(READY) ## What a release consists of, again, of the last commit; AGAINST=SHA256SUMS: it must be the same bits
	$(RELEASE) --rebuild $(if $(AGAINST),--against $(AGAINST))

.PHONY: sign
sign: $(READY) ## Sign a release, FOLDER=dist/0.2.0: its sums, and IMAGE=REGISTRY/NAME@DIGEST, with KEY=cosign.key or KEYLESS=yes; the chart with GPG=FINGERPRINT
	PYTHONPATH=operator $(BIN)/python -m release.sign "$(FOLDER)" $(if $(KEY),--key "$(KEY)") $(if $(KEYLESS),--keyless) $(if $(GPG),--gpg "$(GPG)") $(if $(IMAGE),--image "$(IMAGE)")

.PHONY: verify
verify: $(READY) ## The commands of docs/verify.md, each run on a release that a test signs; cosign is built first, in minutes
	$(BOX) helm version --short
	$(BOX) cosign version
	$(BIN)/pytest tests/contract/test_release_files.py tests/contract/test_signed_release.py

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: $(READY) ## Pin the dependencies again, with hashes and without addresses
	$(COMPILE) pyproject.toml -o requirements/agent.txt
	$(COMPILE) pyproject.toml --extra client -c requirements/agent.txt -o requirements/client.txt
	$(COMPILE) pyproject.toml --extra client --group dev -c requirements/agent.txt -o requirements/dev.txt
	$(COMPILE) --group docs -o requirements/docs.txt
	sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(COMPILE) - -o requirements/build.txt
