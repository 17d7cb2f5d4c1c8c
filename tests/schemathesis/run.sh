#!/usr/bin/env bash
# Asks a running cgauge whatever /openapi.json allows, and much that it does not: no 5xx but the documented
# one, no answer that its schema does not allow, none that takes longer than 20 s.
#
#   tests/schemathesis/run.sh [BINARY [EXAMPLES]]
#
# Takes some minutes. Needs python3 with venv and, once, the Python package index: the tester is installed
# into a directory of its own ($CGAUGE_SCHEMATHESIS, by default below target/).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=$here/../..
readonly binary=${1:-$root/target/debug/cgauge} examples=${2:-50}
readonly venv=${CGAUGE_SCHEMATHESIS:-$root/target/schemathesis}
readonly version=4.32.5

if [[ ! -x $venv/bin/schemathesis ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "schemathesis==$version"
fi

scratch=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
"$binary" run --listen "127.0.0.1:$port" >"$scratch/log" 2>&1 &
agent=$!
stop() {
    kill "$agent" 2>/dev/null || true
    wait "$agent" 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT
for _ in $(seq 100); do
    kill -0 "$agent" 2>/dev/null || { cat "$scratch/log" >&2; exit 1; }
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done

cd "$scratch"
"$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run \
    "http://127.0.0.1:$port/openapi.json" --workers 2 --max-examples "$examples" --request-timeout 20 --no-color
if grep -n "panicked" "$scratch/log"; then
    exit 1
fi
kill -0 "$agent"
