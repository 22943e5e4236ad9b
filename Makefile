# Builds, tests and demonstrates osc-debug. 'make help' lists the targets.
CACHE   := $(or $(OSC_DEBUG_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/osc-debug)
BIN     := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SIDECAR  = $(shell cat $(CACHE)/sidecar.ref 2>/dev/null)
CLI     := github.com/osc-debug/osc-debug/pkg/cli
LDFLAGS  = -s -w -X $(CLI).version=$(VERSION) -X $(CLI).sidecarImage=$(SIDECAR)
CLUSTER := $(CACHE)/cluster
export OSC_DEBUG_CACHE := $(CACHE)

.PHONY: help build install cross images generate test unit kernels stress e2e lint bench bench-cold soak cover fuzz fuzz-journal fuzz-clone fuzz-trace demo cluster-up cluster-down cluster-status devcluster clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the command and the guard for this machine into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/osc-debug ./cmd/osc-debug
	CGO_ENABLED=0 go build -trimpath -o $(BIN)/osc-guard ./cmd/osc-guard

PREFIX = /usr/local

install: build ## Install the command under PREFIX, also as an oc and kubectl plugin, with completion and manual pages
	install -D -m 755 $(BIN)/osc-debug $(DESTDIR)$(PREFIX)/bin/osc-debug
	for cli in oc kubectl; do \
		ln -sf osc-debug $(DESTDIR)$(PREFIX)/bin/$$cli-osc_debug; \
		printf '#!/bin/sh\nexec %s osc-debug __complete "$$@"\n' $$cli >$(DESTDIR)$(PREFIX)/bin/$${cli}_complete-osc_debug; \
		chmod 755 $(DESTDIR)$(PREFIX)/bin/$${cli}_complete-osc_debug; \
	done
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(BIN)/osc-debug completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/osc-debug
	$(BIN)/osc-debug man $(DESTDIR)$(PREFIX)/share/man/man1

cross: ## Build the command for linux, darwin and windows on amd64 and arm64
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
		echo "osc-debug-$$os-$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/osc-debug-$$os-$$arch ./cmd/osc-debug || exit 1; \
	done; done

devcluster:
	@mkdir -p $(BIN)
	@cd test/devcluster && go build -o ../../$(BIN)/devcluster .

images: devcluster ## Build the sidecar and guard images and print their references; REGISTRY=… names the registry, FULL=1 adds bpftrace, PUSH=1 pushes
	$(BIN)/devcluster images $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(FULL),--full) $(if $(PUSH),--push)

lint: lint-packages ## Check formatting, vet, revive, errorlint, staticcheck, and that generated code is up to date
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go vet -tags e2e ./test/...
	go vet -tags e2e,soak ./test/...
	go tool -modfile=tools/go.mod revive -config tools/revive.toml ./cmd/... ./pkg/... ./sidecar/... ./test/arrows ./test/bench ./test/demo ./test/load ./test/record ./test/soak ./test/tracebench
	go tool -modfile=tools/go.mod go-errorlint ./...
	go vet -tags kernels ./sidecar/gadget
	cd test/devcluster && go vet ./... && go vet -tags kernels ./kernels
	go tool -modfile=tools/go.mod staticcheck ./...
	go tool -modfile=tools/go.mod staticcheck -tags e2e ./test/e2e
	cd test/devcluster && go tool -modfile=../../tools/go.mod staticcheck ./... && go tool -modfile=../../tools/go.mod staticcheck -tags kernels ./kernels
	go generate ./sidecar/...
	git diff --exit-code --stat -- sidecar/gadget

# packages installs Debian packages as root; for other users it names them and fails.
packages = @dpkg -s $(1) >/dev/null 2>&1 || { \
	if [ "$$(id -u)" = 0 ]; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(1) >/dev/null; \
	else echo "install first: apt-get install $(1)"; exit 1; fi; }

.PHONY: lint-packages unit-packages
lint-packages:
	$(call packages,clang-16 llvm-16 libbpf-dev)

unit-packages: # tests of captures, which need root, compare with these
	@[ "$$(id -u)" != 0 ] || $(MAKE) --no-print-directory packages-of-captures

.PHONY: packages-of-captures
packages-of-captures:
	$(call packages,iproute2 tcpdump tshark)

generate: ## Compile the BPF programs (needs clang-16, llvm-16, libbpf-dev)
	go generate ./sidecar/...

cluster-up: devcluster ## Start the local cluster
	@$(BIN)/devcluster up

cluster-down: devcluster ## Stop the local cluster and clean up
	@$(BIN)/devcluster down

cluster-status: devcluster ## Show whether the local cluster is running
	@$(BIN)/devcluster status

demo: devcluster ## Move real traffic into a sandbox VM and back; KEEP=1 keeps the cluster running
	@$(BIN)/devcluster up --early >/dev/null
	@$(MAKE) --no-print-directory build
	@OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) go run ./test/demo; code=$$?; \
		$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code

test: unit kernels e2e ## Run all tests: unit, command line, gadgets in a VM, and end-to-end

unit: unit-packages ## Run the tests that need no cluster (the BPF tests run only as root)
	go test ./cmd/... ./pkg/... ./sidecar/... ./manifests ./test/soak ./test/arrows
	cd test/devcluster && go test ./...

kernels: ## Run the gadgets' tests in a VM with a kernel chosen at random; ARGS=-all takes all kernels, ARGS="-all -update" also writes docs/kernels.md
	cd test/devcluster && go test -tags kernels -count=1 ./kernels $(ARGS)

stress: ## Trace what is hard to trace a hundred times: floods, short-lived threads, 1,000 gadgets attached and detached
	OSC_DEBUG_STRESS=100 go test -count=1 -timeout 25m -v ./sidecar/gadget -run 'Floods|Threads|Hostile|Detached' $(ARGS)

# End-to-end tests spend nearly all their time waiting: for a Lease, a drain, an expiry. They are
# nicer than the cluster: on a busy machine the tests' commands wait, not the API server and the VM.
# How many run at once depends on how fast the cluster answers (test/e2e/begin_test.go), not on -parallel.
E2E := nice -n 10 go test -tags e2e -count=1 -timeout 60m -parallel 1000 ./test/e2e/

e2e: devcluster ## Run the end-to-end tests on a new local cluster
	@$(BIN)/devcluster down
	@$(BIN)/devcluster up --reload-interval 1s >/dev/null
	@$(MAKE) --no-print-directory build
	@echo "running the end-to-end tests: about 10 min on 2 cores, more than 20 on slow ones, results at the end (ARGS=-v prints each test as it runs)"
	@OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) $(E2E) $(ARGS); code=$$?; \
		cat $(CLUSTER)/summary 2>/dev/null; \
		$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code

# run-bench runs parts of test/bench against the cluster and stops the cluster afterwards.
run-bench = @$(BIN)/devcluster up >/dev/null && $(MAKE) --no-print-directory build && \
	{ OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) go run ./test/bench $(1); code=$$?; \
	$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code; }

bench: devcluster ## Measure the figures and compare them with their targets; exits 1 if one misses its target; ARGS=trace measures the tracer
ifeq ($(ARGS),trace)
	go run ./test/tracebench
else
	$(call run-bench,$(or $(ARGS),cluster program shares byhand))
endif

bench-cold: devcluster ## Time a build of everything with empty caches; takes up to 12 min
	$(call run-bench,cold)

soak: ## Run the long tests that are due, in parts of at most 30 min each; PART=… runs one, PART=a+b two in one cluster, PART=list lists them
	@go run ./test/soak $(PART)

# cover measures which statements the unit and end-to-end tests reach in the commands that the
# tests run as processes. It does not count what runs inside the cluster (the guard, the tracer)
# or processes ended by kill -9.
COVERED := ./cmd/...,./pkg/...,./sidecar/...
COVER    = $(CACHE)/cover

cover: devcluster ## Measure each package's coverage by unit and end-to-end tests
	@rm -rf $(COVER) && mkdir -p $(COVER)/unit $(COVER)/e2e $(COVER)/bin
	@for c in osc-debug osc-guard; do CGO_ENABLED=0 go build -cover -coverpkg=$(COVERED) -ldflags '$(LDFLAGS)' -o $(COVER)/bin/$$c ./cmd/$$c || exit 1; done
	go test -count=1 -cover -coverpkg=$(COVERED) ./cmd/... ./pkg/... ./sidecar/... -args -test.gocoverdir=$(COVER)/unit >/dev/null
	@$(BIN)/devcluster up --reload-interval 1s >/dev/null
	@GOCOVERDIR=$(COVER)/e2e OSC_DEBUG=$(COVER)/bin/osc-debug OSC_DEBUG_CLUSTER=$(CLUSTER) \
		$(E2E) $(ARGS); code=$$?; \
		$(if $(KEEP),,$(BIN)/devcluster down;) \
		echo unit; go tool covdata percent -i=$(COVER)/unit; echo end to end; go tool covdata percent -i=$(COVER)/e2e; \
		echo together; go tool covdata percent -i=$(COVER)/unit,$(COVER)/e2e; exit $$code

# run-fuzz fuzzes targets of a package, each for FUZZ=10m.
run-fuzz = @for f in $(2); do go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZ),10m) $(1) || exit 1; done

fuzz: fuzz-journal fuzz-clone fuzz-trace ## Fuzz the journal, the restore, labels, variables, frames, records and recordings, each for FUZZ=10m

fuzz-journal:
	$(call run-fuzz,./pkg/session/record,FuzzDecode FuzzRestore)

fuzz-clone:
	$(call run-fuzz,./pkg/sandbox,FuzzEscape FuzzSetVariable)

fuzz-trace:
	$(call run-fuzz,./pkg/trace/frame,FuzzFrame)
	$(call run-fuzz,./pkg/trace/gadget,FuzzEncode FuzzFilter)
	$(call run-fuzz,./sidecar/gadget,FuzzDecode)
	$(call run-fuzz,./sidecar/http1,FuzzConn)
	$(call run-fuzz,./sidecar/recorder,FuzzRead)

clean: ## Remove what was built in this checkout (not the cache)
	rm -rf $(BIN)
