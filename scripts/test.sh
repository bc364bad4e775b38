#!/usr/bin/env bash
# Runs all tests and ends with one true line: how many passed and failed, over all runners.
#   scripts/test.sh E2E_PROGRAM
set -uo pipefail
cd "$(dirname "$0")/.."
# Copies run: a build in another checkout with the same target directory replaces the programs there.
programs=$(mktemp -d)
cp "$(dirname "$1")"/{e2e,peon-operator,kubectl-peon,announce,archive,follow,java_arguments} "$programs" || exit 1
e2e=$programs/$(basename "$1")
log=$(mktemp)
histories=$(mktemp)
computing=
trap 'rm -rf "$log" "$programs" "$histories"; [ -z "$computing" ] || kill -- "-$computing"' EXIT
broken=0

# A run that ends badly without a failed test (a crash, a cluster that does not start) is a failure too.
run() {
    local before failed
    before=$(grep -c '^test result: FAILED' "$log")
    "$@" 2>&1 | tee -a "$log"
    if [ "${PIPESTATUS[0]}" != 0 ]; then
        failed=$(grep -c '^test result: FAILED' "$log")
        if [ "$failed" = "$before" ]; then broken=$((broken + 1)); echo "did not run: $*" | tee -a "$log"; fi
    fi
}

# Prints what a job in the background wrote, and ends as it did.
result() {
    cat "$1"
    return "$2"
}

if [ "${CLUSTER:-}" = current ]; then
    HELM=$(command -v helm) || { echo "install helm 3 first" >&2; exit 1; }
else
    HELM=$("$e2e" tools)/helm || exit 1
fi
export HELM
# Compiling and random histories only compute: they take what the cluster leaves of the cores. Of the workspace, as below: of
# one package alone other features are compiled.
setsid nice -n 19 bash -c 'cargo test --quiet --workspace --no-run &&
    exec cargo test --workspace --lib -- --test-threads=1 simulation::' > "$histories" 2>&1 &
computing=$!
# A cluster that is up already is used and left up.
up=$("$e2e" status | grep -c ': process ')
run "$e2e" --wait test
if [ "${CLUSTER:-}" != current ] && [ "$up" = 0 ]; then
    run "$e2e" leftovers
fi
ended=0
wait "$computing" || ended=$?
computing=
run result "$histories" "$ended"
# These wait with deadlines, so they have the machine to themselves.
run cargo test --workspace --no-fail-fast -- --skip simulation::
# The oldest and the newest Kubernetes: tasks from their creation to their end, in pods and by an overlord.
if [ -n "${FULL:-}" ] && [ "${CLUSTER:-}" != current ] && [ "$up" = 0 ]; then
    for version in $("$e2e" versions); do
        export KUBERNETES=$version
        run "$e2e" tools
        run "$e2e" --wait test lifecycle::
    done
    run "$e2e" leftovers
fi

# Once more at the end, for whoever sees no more than the last lines: what failed, and of cases on the cluster why.
grep -E '^(failed: |did not run: |test .* FAILED$)' "$log" | sort -u
awk -v broken="$broken" '
    /^test result:/ {
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) skipped += $(i - 1)
        }
    }
    END {
        failed += broken
        printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : ""
        exit failed > 0
    }
' "$log"
