#!/bin/sh
# The tests of e2e/, those that take long or need containers included: E2E_FLAGS go to go test. They use the cluster that
# make e2e-up left up, or else one of their own, which goes with them.
set -eu
cd "$(dirname "$0")/.."
bash scripts/e2e-setup.sh
# First, for the tests would not show how far it is.
sh scripts/e2e-stack.sh build
# One package at a time, so that what a test says is seen when it says it, and how long it took.
# Those that make test runs are left to it, unless E2E_FLAGS name tests.
quick=$(go -C e2e test -list '^(Test|Fuzz)' ./... | grep -E '^(Test|Fuzz)' | sort -u | paste -sd '|' -)
case " ${E2E_FLAGS:-}" in
*" -run"*) ;;
*) E2E_FLAGS="-skip ^($quick)\$ ${E2E_FLAGS:-}" ;;
esac
# shellcheck disable=SC2086 # several flags
go -C e2e test -tags e2e -count=1 -timeout 60m -p 1 -v $E2E_FLAGS ./...
