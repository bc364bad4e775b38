#!/usr/bin/env bash
# Checks the dependencies against the advisory database of RustSec, where it can be had; for `make lint`.
#   scripts/advisories.sh CARGO_DENY
# Where it cannot be fetched the copy that is there is used, and where there is none nothing was checked, which is said.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$1
database=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs

if timeout "${ADVISORIES_SECONDS:-60}" "$deny" --log-level off fetch db >/dev/null 2>&1; then
    exec "$deny" --log-level error check --disable-fetch advisories
fi
# A fetch that broke off leaves an empty folder.
if [ -n "$(find "$database" -mindepth 2 -maxdepth 2 -type d -name crates 2>/dev/null)" ]; then
    echo "advisories: the database cannot be fetched: using the copy in $database" >&2
    exec "$deny" --log-level error check --disable-fetch advisories
fi
echo "advisories: NOT CHECKED: the database cannot be fetched, and there is no copy in $database" >&2
echo "advisories: run \`make audit\` where the internet can be reached, before a release at the latest" >&2
