#!/bin/sh
# Measures mf beside Metaflow, in one run each; BENCH_FLAGS, SERVICE_FLAGS, STARTUP_FLAGS,
# DATASTORE_FLAGS and DEPLOY_FLAGS go to the parts. What is deployed goes to the cluster of "make e2e-up", if it is up.
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
echo "== deploying to Argo Workflows"
bash scripts/test-setup.sh bench
[ ! -f .cache/e2e/cluster/admin.kubeconfig ] || sh scripts/e2e-stack.sh namespace mf-bench
go run ./bench/deploy ${DEPLOY_FLAGS:-}
