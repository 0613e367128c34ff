#!/bin/sh
# The tests of e2e/, those that take long or need Docker included: E2E_FLAGS go to go test.
set -eu
cd "$(dirname "$0")/.."
bash scripts/e2e-setup.sh
go test -tags e2e -count=1 -timeout 40m ${E2E_FLAGS:-} ./e2e/...
