#!/usr/bin/env bash
# The dbt project of docs/examples against a server of its own, whose users are owners: dbt.sh PROGRAM STORE DBT
set -euo pipefail
program="$1" store="$2" dbt="$3"
project="$(dirname "$0")/../../docs/examples/dbt"
work="$(mktemp -d)"
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cp -r "$store" "$work/store"
cp -r "$project" "$work/dbt"
# shellcheck source=tests/clients/serve.sh
. "$(dirname "$0")/serve.sh"
serve "$program" "$work/store" "$work/serve.txt" --role owner
export PGHOST=127.0.0.1 PGUSER=dbt DBT_PROFILES_DIR=. DBT_SEND_ANONYMOUS_USAGE_STATS=false

cd "$work/dbt"
# Twice: what is there is replaced, emptied, added to.
for step in debug seed run seed run test "docs generate"; do
    # shellcheck disable=SC2086
    "$dbt" --no-use-colors $step >"$work/dbt.txt" 2>&1 && ! grep -q 'Encountered an error' "$work/dbt.txt" ||
        { cat "$work/dbt.txt"; echo "dbt: $step is required to succeed" >&2; exit 1; }
done
python3 - <<'PYTHON'
import json

tables = json.load(open("target/catalog.json"))["nodes"]
columns = tables["model.neurons.labelled"]["columns"]
assert list(columns) == ["layer", "neuron", "n_clusters", "label"], columns
PYTHON
cd - >/dev/null
asked="SELECT label, n_clusters > 1 AS several FROM lab.labelled WHERE neuron = 417"
"$program" --store "$work/store" --format csv -c "$asked" | grep -qx 'the,true' || { echo "dbt: its table is required in the store" >&2; exit 1; }
echo "ok dbt $("$dbt" --version 2>/dev/null | sed -n 's/.*installed: *\([0-9.]*\).*/\1/p' | head -1)"
