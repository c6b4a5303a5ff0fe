# What there is to do. Tests need Go and PostgreSQL only (or a container engine; see integration_tests/pgtest).

SHELL      := /bin/bash
VERSION    := $(shell sed -n 's/^ *dockerImageTag: *//p' metadata.yaml)
REPOSITORY := $(shell sed -n 's/^ *dockerRepository: *//p' metadata.yaml)
STAMP      := -X source-postgres/protocol.Version=$(VERSION)
REPORT     := go run ./.ci/testreport
LINTER     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
LINTER_VERSION := v2.15.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint
ACTIONLINT_VERSION := v1.7.12
SCRIPTS     = $(shell grep -lsE '^\#!/bin/(ba)?sh' .ci/* integration_tests/launcher/*) .ci/engine

.PHONY: help build test test-integration race lint bench bench-quick demo form-test chaos chaos-mutants image image-test
.PHONY: readme-test conformance versions vulncheck reproducible release ci

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## the connector, as bin/source-postgres
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(STAMP)" -o bin/source-postgres .

test: ## unit and integration tests
	@go test -json -count=1 ./... | $(REPORT)

test-integration: ## the integration tests alone
	@go test -json -count=1 ./integration_tests | $(REPORT)

race: ## the same tests under the race detector: of unit tests the tests, of integration tests the connector
	@(CONNECTOR_RACE=1 go test -json -count=1 -timeout 20m ./integration_tests/...; \
		go test -race -json -count=1 $$(go list ./... | grep -v /integration_tests)) | $(REPORT)

lint: .cache/golangci-lint-$(LINTER_VERSION) .cache/actionlint-$(ACTIONLINT_VERSION) ## formatting, rules, scripts, workflows
	.cache/golangci-lint-$(LINTER_VERSION) run ./... ./.ci/...
	.cache/actionlint-$(ACTIONLINT_VERSION)
	@if command -v shellcheck >/dev/null; then shellcheck --external-sources $(SCRIPTS); \
		else echo 'NOT RUN: shellcheck: it is not installed'; fi

.cache/golangci-lint-%:
	mkdir -p .cache
	GOBIN=$(CURDIR)/.cache GOFLAGS= go install $(LINTER)@$*
	mv .cache/golangci-lint $@

.cache/actionlint-%:
	mkdir -p .cache
	GOBIN=$(CURDIR)/.cache GOFLAGS= go install $(ACTIONLINT)@$*
	mv .cache/actionlint $@

vulncheck: ## known vulnerabilities (govulncheck), where its database can be had
	.ci/vulncheck

reproducible: ## two builds from nothing, in two places: the same binary
	REPRODUCIBLE=full go test -count=1 -v -run '^TestBuildIsReproducible$$' .

bench: ## whole reads beside PostgreSQL's own programs, on a quiet machine (benchmarks/README.md)
	go run ./benchmarks -markdown benchmarks/results.md -plot benchmarks/results.svg

bench-quick: ## what matters most of it, with a fifth of the rows, in a good minute
	go run ./benchmarks -quick

# MODE: refresh, standard, xmin or cdc; all of them without it. HARD=1: more of what is likely to show a mistake.
CHAOS = go run ./integration_tests/chaos $(if $(MODE),-mode $(MODE)) $(if $(ROUNDS),-rounds $(ROUNDS)) \
	$(if $(SEED),-seed $(SEED)) $(if $(WITHOUT),-without $(WITHOUT)) $(if $(HARD),-hard)

chaos: ## the promise of docs/guarantees.md under random faults: MODE=cdc ROUNDS=300 SEED=7, all optional
	$(CHAOS)

chaos-mutants: ## broken builds of the connector, each of which the verifier has to catch
	$(CHAOS) -mutants $(if $(MUTANT),-mutant '$(MUTANT)')

demo: ## a sync to look at
	go run ./integration_tests/demo

form-test: ## spec.json as a form in a headless browser (Node.js and Chromium)
	go run ./integration_tests/form

release: ## the programs of a release with what they are made of and checksums, as dist/
	.ci/release programs dist
	.ci/release checksums dist

image: ## the container image; GO_IMAGE and BASE_IMAGE may be set
	docker build --build-arg VERSION=$(VERSION) $(foreach v,GO_IMAGE BASE_IMAGE,$(if $($(v)),--build-arg $(v)=$($(v)))) \
		-t $(REPOSITORY):$(VERSION) .

image-test: ## the image, run as the platform runs it
	@IMAGE_UNDER_TEST=$(REPOSITORY):$(VERSION) \
		go test -json -count=1 -tags image -run '^Test(Image|Launcher)' ./integration_tests | $(REPORT)

readme-test: ## README.md's commands in a container with a bare Debian
	.ci/readme

conformance: ## Airbyte's own clients and suites, with packages from PyPI and a container engine that it gets for itself
	.ci/conformance

versions: ## the integration tests on PostgreSQL 13 to 18, which it gets for itself; writes docs/versions.md
	.ci/versions

ci: ## everything that has to hold before a change is taken
	.ci/run
