# osc-debug: build, test and try it. 'make help' lists the targets.
CACHE   := $(or $(OSC_DEBUG_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/osc-debug)
BIN     := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SIDECAR  = $(shell cat $(CACHE)/sidecar.ref 2>/dev/null)
CLI     := github.com/osc-debug/osc-debug/pkg/cli
LDFLAGS  = -s -w -X $(CLI).version=$(VERSION) -X $(CLI).sidecarImage=$(SIDECAR)
CLUSTER := $(CACHE)/cluster
export OSC_DEBUG_CACHE := $(CACHE)

.PHONY: help build install cross images generate test unit e2e lint bench bench-cold soak cover fuzz demo cluster-up cluster-down cluster-status devcluster clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the command and the guard for this machine into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/osc-debug ./cmd/osc-debug
	CGO_ENABLED=0 go build -trimpath -o $(BIN)/osc-guard ./cmd/osc-guard

PREFIX = /usr/local

install: build ## Install the command, as a plugin of oc and kubectl too, with completion and manual pages, under PREFIX
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

images: devcluster ## Build the images of sidecar and guard and print their references; REGISTRY=…, FULL=1 with bpftrace, PUSH=1 pushes
	$(BIN)/devcluster images $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(FULL),--full) $(if $(PUSH),--push)

lint: lint-packages ## Format, vet, staticcheck, and generated code that is up to date
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go vet -tags e2e ./test/...
	cd test/devcluster && go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go tool -modfile=tools/go.mod staticcheck -tags e2e ./test/e2e
	cd test/devcluster && go tool -modfile=../../tools/go.mod staticcheck ./...
	go generate ./sidecar/...
	git diff --exit-code --stat -- sidecar/gadget

LINT_PACKAGES := clang-16 llvm-16 libbpf-dev
.PHONY: lint-packages
lint-packages:
	@dpkg -s $(LINT_PACKAGES) >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ]; then apt-get -qq update && apt-get -qq install -y --no-install-recommends $(LINT_PACKAGES) >/dev/null; \
		else echo "install first: apt-get install $(LINT_PACKAGES)"; exit 1; fi; }

generate: ## Compile the BPF programs (needs clang-16, llvm-16, libbpf-dev)
	go generate ./sidecar/...

cluster-up: devcluster ## Start the local cluster
	@$(BIN)/devcluster up

cluster-down: devcluster ## End the local cluster and remove what it left
	@$(BIN)/devcluster down

cluster-status: devcluster ## Say whether the local cluster runs
	@$(BIN)/devcluster status

demo: devcluster ## Move real traffic into a sandbox VM and back; KEEP=1 leaves the cluster up
	@$(BIN)/devcluster up --early >/dev/null
	@$(MAKE) --no-print-directory build
	@OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) go run ./test/demo; code=$$?; \
		$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code

test: unit e2e ## Run all tests: unit, command line, and end to end on the local cluster

unit: ## Run the tests that need no cluster (as root also those of the BPF programs)
	go test ./cmd/... ./pkg/... ./sidecar/... ./test/soak ./test/arrows
	cd test/devcluster && go test ./...

# Nearly all that end-to-end tests do is wait: for a Lease, a drain, a time to live.
PARALLEL := 48

e2e: devcluster ## Run the tests that need the local cluster, in one of their own
	@$(BIN)/devcluster down
	@$(BIN)/devcluster up --reload-interval 1s >/dev/null
	@$(MAKE) --no-print-directory build
	@echo "end-to-end tests: about 5 min on 2 cores, printed when they end (ARGS=-v: each as it goes)"
	@OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) go test -tags e2e -count=1 -timeout 60m -parallel $(PARALLEL) ./test/e2e/ $(ARGS); code=$$?; \
		cat $(CLUSTER)/told 2>/dev/null; \
		$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code

# bench runs parts of test/bench against the cluster, which it ends afterwards.
run-bench = @$(BIN)/devcluster up >/dev/null && $(MAKE) --no-print-directory build && \
	{ OSC_DEBUG=$(abspath $(BIN)/osc-debug) OSC_DEBUG_CLUSTER=$(CLUSTER) go run ./test/bench $(1); code=$$?; \
	$(if $(KEEP),,$(BIN)/devcluster down;) exit $$code; }

bench: devcluster ## Take the figures, with targets and verdicts; exits 1 on a miss
	$(call run-bench,$(or $(ARGS),cluster program shares byhand))

bench-cold: devcluster ## Build everything once more with empty caches, timed; takes up to 12 min
	$(call run-bench,cold)

soak: ## The long runs, in parts of at most 30 min: those due, or PART=…; PART=list lists them
	@go run ./test/soak $(PART)

# cover counts what unit and end-to-end tests reach, of the commands that run as processes of the
# tests. Not counted: what runs in the cluster (its guard, the tracer), and processes killed by -9.
COVERED := ./cmd/...,./pkg/...,./sidecar/...
COVER    = $(CACHE)/cover

cover: devcluster ## Coverage of each package by unit and end-to-end tests together
	@rm -rf $(COVER) && mkdir -p $(COVER)/unit $(COVER)/e2e $(COVER)/bin
	@for c in osc-debug osc-guard; do CGO_ENABLED=0 go build -cover -coverpkg=$(COVERED) -ldflags '$(LDFLAGS)' -o $(COVER)/bin/$$c ./cmd/$$c || exit 1; done
	go test -count=1 -cover -coverpkg=$(COVERED) ./cmd/... ./pkg/... ./sidecar/... -args -test.gocoverdir=$(COVER)/unit >/dev/null
	@$(BIN)/devcluster up --reload-interval 1s >/dev/null
	@GOCOVERDIR=$(COVER)/e2e OSC_DEBUG=$(COVER)/bin/osc-debug OSC_DEBUG_CLUSTER=$(CLUSTER) \
		go test -tags e2e -count=1 -timeout 60m -parallel $(PARALLEL) ./test/e2e/ $(ARGS); code=$$?; \
		$(if $(KEEP),,$(BIN)/devcluster down;) \
		echo unit; go tool covdata percent -i=$(COVER)/unit; echo end to end; go tool covdata percent -i=$(COVER)/e2e; \
		echo together; go tool covdata percent -i=$(COVER)/unit,$(COVER)/e2e; exit $$code

fuzz: ## Fuzz the journal's decoder and the restore; FUZZ=10m for each
	for f in FuzzDecode FuzzRestore; do go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZ),10m) ./pkg/session/record || exit 1; done

clean: ## Remove what was built here (not the cache)
	rm -rf $(BIN)
