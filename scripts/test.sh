#!/bin/sh
# All tests. What they need besides Go and Python 3 was installed by scripts/test-setup.sh.
set -eu
cd "$(dirname "$0")/.."
sh scripts/build.sh >/dev/null
go vet ./...
go test -timeout 20m ./...
