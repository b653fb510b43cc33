# Each target sets up what it needs, says what it does, and can be run again. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODE := node_modules/.bin/node
# Programs of npm packages ask for `node`: they get the pinned one.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: guest ## a pod becomes a VM, shown step by step; KEEP=1 leaves it, GUEST=debian takes the Debian guest
	@$(NODE) test/node/demo.ts

setup: ## Debian packages, npm packages and Go tools that are missing
	@tools/setup

guest: setup
	@test/guests/build $(or $(GUEST),tiny) >/dev/null

guests: ## the tiny and the Debian test guest, built once per machine
	@tools/setup packages
	@test/guests/build tiny
	@test/guests/build debian

check: ## fast: format, lint, types, unit tests
	@tools/setup npm
	@npm run -s check

test: ## everything CI runs; the last line says how many passed, failed and were skipped
	@tools/test

test-full: ## the same in its long forms
	@FULL=1 tools/test

soak: guest ## pods come and go for MINUTES=10 while daemon and QEMUs are killed at random (SEED=1)
	@$(NODE) test/node/libvirtd.ts up
	@MINUTES=$(or $(MINUTES),10) SEED=$(or $(SEED),1) node_modules/.bin/vitest run --project integration test/integration/e2e/soak.test.ts

clean-room: ## make demo and make test in a fresh Debian root, from a clone
	@tools/setup packages
	@tools/clean-room

node-up: guest ## a node for people, in the background: libvirtd, CNI, images, daemon
	@$(NODE) test/node/up.ts

node-down: ## its pods and everything of it removed
	@tools/setup npm
	@$(NODE) test/node/down.ts

bench: SETUP = registry crilatency
conformance: SETUP = critest registry
bench conformance: ## measurements; critest
	@tools/setup packages npm go $(SETUP)
	@tools/suite $@

kubelet: ## the kubelet of `make e2e`, from its Go modules (10 to 30 minutes)
	@tools/setup kubelet

e2e: guest ## a kubelet that stands alone has vmlet as its runtime: KUBELET=/path, or the one of `make kubelet`
	@$(NODE) test/node/libvirtd.ts up
	@node_modules/.bin/vitest run --project integration test/integration/kubelet

cluster: guest ## a whole cluster in namespaces of this machine: the chart is installed, used, upgraded and removed (built first: 10 to 40 minutes)
	@tools/setup cluster registry
	@node_modules/.bin/vitest run --project integration test/integration/cluster

chart: ## the Helm chart: lint, every rendering against the Kubernetes API's types, goldens (UPDATE=1 writes them)
	@tools/setup npm chartcheck
	@$(NODE) test/chart/run.ts

install: ## on this machine, without Kubernetes packaging; DESTDIR, PREFIX=/usr/local (docs/install.md)
	@tools/setup npm
	@packaging/install "$(or $(DESTDIR),/)" "$(or $(PREFIX),/usr/local)"

uninstall: ## what make install put there; data stays
	@packaging/uninstall "$(or $(DESTDIR),/)" "$(or $(PREFIX),/usr/local)"

image: ## the container image of the chart as an OCI archive, without docker: IMAGE=.cache/vmlet-image.tar
	@tools/setup packages npm
	@packaging/image/build "$(or $(IMAGE),.cache/vmlet-image.tar)"

.PHONY: help demo setup guest guests check test test-full soak clean-room node-up node-down bench conformance kubelet e2e cluster chart install uninstall image
