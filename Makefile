# A thin front of CMake.  `make run` and `make test` are all a newcomer needs.
BUILD ?= build
CMAKE_ARGS ?=
SECONDS ?= 30
MINUTES ?= 4

.PHONY: run build configure test unit lint fuzz bench soak docs npm-test tls-test clean packages run-packages test-packages

## run: install what is missing, build, start examples/hospital with everything embedded
run: run-packages build
	@sh tools/run-hospital.sh $(BUILD)/moonlatch

## build: only the program, $(BUILD)/moonlatch, usable in place
build: configure
	@cmake --build $(BUILD)

## test: install the test packages too, build, run every test of C and Lua
test: test-packages build
	@sh tools/test.sh $(BUILD)

## unit: only the tests of C
unit: test-packages configure
	@sh tools/test.sh $(BUILD) unit

## lint: layout of Lua; warnings are errors
lint: test-packages
	@sh tools/lint.sh

## fuzz: every harness for SECONDS seconds
fuzz:
	@sh fuzz/run.sh $(SECONDS)

## bench: CPU per request against Debian's nginx and haproxy
bench: build
	@sh bench/run.sh $(BUILD)/moonlatch

## soak: load for MINUTES, and 100 reloads under load; memory must not grow
soak: test-packages build
	@luajit bench/soak.lua $(CURDIR)/$(BUILD)/moonlatch $(MINUTES)

## npm-test: beside libraries of npm, which it installs in spec/npm
npm-test: test-packages build
	@sh tools/npm.sh $(CURDIR)/$(BUILD)/moonlatch

## tls-test: testssl.sh finds nothing wrong with the defaults
tls-test: test-packages build
	@sh tools/packages.sh tls
	@sh tools/tls-quality.sh $(CURDIR)/$(BUILD)/moonlatch

## docs: docs/policies.md out of lua/middleware; docs/reference.md and the type stubs out of tools/api
docs: test-packages
	@luajit tools/docs.lua >docs/policies.md.new && mv docs/policies.md.new docs/policies.md
	@luajit tools/reference.lua >docs/reference.md.new && mv docs/reference.md.new docs/reference.md
	@luajit tools/stubs.lua lua/site/dot.types

configure: packages
	@cmake -S . -B $(BUILD) -G Ninja $(CMAKE_ARGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

packages:
	@sh tools/packages.sh build
run-packages:
	@sh tools/packages.sh run
test-packages:
	@sh tools/packages.sh test

clean:
	rm -rf $(BUILD)
