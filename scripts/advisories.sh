#!/usr/bin/env bash
# Checks the dependencies against the copy of the RustSec advisory database that `make audit` fetched last; for `make lint`.
#   scripts/advisories.sh CARGO_DENY
# It fetches nothing itself, so that `make lint` needs no network. Where there is no copy nothing was checked, which is said.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$1
database=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs

# A fetch that broke off leaves an empty folder.
if [ -n "$(find "$database" -mindepth 2 -maxdepth 2 -type d -name crates 2>/dev/null)" ]; then
    exec "$deny" --log-level error check --disable-fetch advisories
fi
echo "advisories: NOT CHECKED: there is no copy of the database in $database" >&2
echo "advisories: run \`make audit\` where the internet can be reached, before a release at the latest" >&2
