#!/bin/sh
# Measures mf beside Metaflow, in one run each; BENCH_FLAGS, SERVICE_FLAGS, STARTUP_FLAGS and
# DATASTORE_FLAGS go to the parts.
set -eu
cd "$(dirname "$0")/.."
echo "== runs on one machine"
go run ./bench/local ${BENCH_FLAGS:-}
echo "== compiling"
go run ./bench/compile
echo "== the metadata service"
go run ./bench/service ${SERVICE_FLAGS:-}
echo "== starting a task"
go run ./bench/startup ${STARTUP_FLAGS:-}
echo "== the datastore"
go run ./bench/datastore ${DATASTORE_FLAGS:-}
