# Each target says what it is for; the work lies in .ci/ and tests/.
.PHONY: run test check bench sim soak package setup

run: ## set up, build and open the desktop app (DEMO=1: the demo with traffic at once)
	@.ci/setup system ui && .ci/app $(if $(DEMO),--demo)

test: ## set up, then pass every test and check
	@.ci/setup system ui clients && .ci/check && .ci/test

check: ## format, lints, types
	@.ci/setup system ui && .ci/check

bench: ## the table of figures: direct, nginx and Tidegate in one run
	@.ci/setup system && .ci/bench $(ARGS)

sim: ## replay one seed of the simulation: SIM_SEED=… make sim
	@.ci/test sim

soak: ## the long forms of crash, canary and flow, in turns: make soak T=1h
	@.ci/setup system && .ci/soak $(or $(T),10m)

package: ## the .deb of the desktop app and the command line (ARGS=--prove: installed, started and removed, as root)
	@.ci/setup system ui && .ci/package $(ARGS)

setup: ## everything the other targets need
	@.ci/setup system ui clients
