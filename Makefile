# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
DESTDIR ?=
# Where programs and manual pages are built, and where install takes them from.
BIN ?= bin
MAN ?= bin/man
FUZZTIME ?= 10s

# scripts/go runs a Go that is new enough for go.mod, wherever it is.
GO := scripts/go
# The go command records tag and commit in the programs, which report them; not
# where git cannot tell (an archive, another user's checkout). Asked for only
# when something is linked.
BUILDVCS = -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
SOURCES := $(shell find . -path ./.cache -prune -o -path ./tools -prune -o \( -name '*.go' -o -name '*.[ch]' \) ! -name '*_test.go' -print) go.mod go.sum
LDFLAGS := -s -w
# Programs, tests and linters share what is compiled.
export GOFLAGS := -trimpath $(GOFLAGS)

.PHONY: help run base build test lint policy generate fuzz bench install uninstall release setup clean test-host test-vm vm-shell test-walks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## set up, build, and open a shell in a sandbox (a short report without a terminal)
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory -s bin/cpc
	@$(MAKE) --no-print-directory -s -j2 bin/cpc-runtime base
	@scripts/build-sandbox.sh --if-changed
	@scripts/run-sandbox.sh

# What run needs. It leaves cpc-scan out: that is two thirds of all modules to fetch.
base: bin/cpc
	@scripts/build-sandbox.sh --base

build: $(BIN)/cpc $(BIN)/cpc-runtime $(BIN)/cpc-scan ## build the programs in bin/

test: ## set up, then lint and every test: test-host, and test-vm
	@$(MAKE) --no-print-directory test-host
	@$(MAKE) --no-print-directory test-vm

test-host: ## all of that but what needs the VM
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build lint
	$(GO) test -tags seccomp -vet=off -timeout 20m ./...
	scripts/build-sandbox.sh
	scripts/test-sandbox.sh

test-vm: ## the tests that need systemd and cgroup v2, in a Debian VM (GROUPS=…: test/vm/groups)
	@scripts/setup.sh vm
	@$(MAKE) --no-print-directory build
	test/vm/test.sh $(GROUPS)

vm-shell: ## a root shell in that VM (VMUSER=user: as a user)
	@scripts/setup.sh vm
	@test/vm/run.sh --user $(or $(VMUSER),root)

lint: .cache/golangci-lint ## run golangci-lint and shellcheck
	PATH="$$($(GO) env GOROOT)/bin:$$PATH" .cache/golangci-lint run ./...
	shellcheck -x $(wildcard scripts/*.sh build/image/scripts/*.sh test/vm/*.sh test/vm/groups/*.sh test/walks/*.sh) scripts/go .ci/run

test-walks: build ## people's work in sandboxes, with real tools (needs a network and tmux; minutes)
	test/walks/claude-code.sh

policy: ## check the import table, licence headers and file sizes
	$(GO) test ./internal/policy

generate: ## write docs/cli anew from the commands
	$(GO) test ./cmd/cpc -run TestReference -update

fuzz: ## run every fuzz target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

bench: build ## measure runtime and network against runc, crun, bwrap, pasta, slirp4netns (root, minutes)
	scripts/bench.sh
	scripts/bench-build.sh
	scripts/bench-pull.sh

install: build bin/man ## install programs, man pages, completions, units and docs below PREFIX (/usr/local)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BIN='$(BIN)' MAN='$(MAN)' scripts/install.sh install

uninstall: ## remove what install has put below PREFIX (first, each user: cpc system reset; then root: cpc setup --undo)
	@echo 'Images and sandboxes stay: only cpc system reset, run by each user beforehand, removes them.'
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install.sh uninstall

release: ## build the packages of the version that HEAD is tagged with, in dist/ (ARCHES="amd64 arm64")
	@scripts/setup.sh release
	@scripts/release.sh

setup: ## install the system packages that building and testing need
	@scripts/setup.sh test

clean: ## remove what was built (images and the module cache stay)
	rm -rf bin dist .cache

$(BIN)/cpc: $(SOURCES)
	@mkdir -p $(BIN)
	@echo "building $@"
	CGO_ENABLED=0 $(GO) build $(BUILDVCS) -ldflags '$(LDFLAGS)' -o $@ ./cmd/cpc

$(BIN)/cpc-scan: $(SOURCES)
	@mkdir -p $(BIN)
	@echo "building $@"
	CGO_ENABLED=0 $(GO) build $(BUILDVCS) -ldflags '$(LDFLAGS)' -o $@ ./cmd/cpc-scan

# Man pages and completions: only what is installed has them.
bin/man: $(SOURCES)
	@echo "writing $@"
	@rm -rf $@ $@.new && mkdir -p $@.new
	@$(GO) test ./cmd/cpc -run 'TestManual$$' -manual '$(CURDIR)/$@.new' >/dev/null
	@mv $@.new $@

# The runtime becomes the sandbox's init, inside a root that has no libraries
# of ours: it must not need a dynamic loader.
$(BIN)/cpc-runtime: $(SOURCES)
	@mkdir -p $(BIN)
	@echo "building $@"
	CGO_ENABLED=1 $(GO) build $(BUILDVCS) -tags 'seccomp netgo osusergo' \
		-ldflags '$(LDFLAGS) -linkmode external -extldflags "-static"' -o $@.new ./cmd/cpc-runtime
	scripts/check-static.sh $@.new
	@mv $@.new $@

.cache/golangci-lint: tools/go.mod tools/go.sum
	@mkdir -p .cache
	@echo "building golangci-lint (a few minutes, once)"
	cd tools && CGO_ENABLED=0 ../$(GO) build -buildvcs=false -ldflags '-s -w' -o ../$@ \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint
