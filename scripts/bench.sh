#!/bin/sh
# Measures mf beside Metaflow, in one run each; BENCH_FLAGS go to the first.
set -eu
cd "$(dirname "$0")/.."
echo "== runs on one machine"
go run ./bench/local ${BENCH_FLAGS:-}
echo "== compiling"
go run ./bench/compile
