#!/usr/bin/env bash
# Writes what is compiled into the programs, as CycloneDX JSON, from Cargo.lock.
#   scripts/release/sbom.sh > sbom.cdx.json
# Needs jq. Dependencies of tests and of the build alone are left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-gnu | jq --sort-keys '
    . as $all
    | (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $uses
    | (.packages[] | select(.name == "peon-operator") | .id) as $root
    | def reach($seen; $next):
        if ($next | length) == 0 then $seen
        else reach($seen + $next; ([$next[] | $uses[.][]] | unique) - $seen - $next) end;
    reach([]; [$root]) as $in
    | (.packages | map({key: .id, value: .}) | from_entries) as $package
    | def component($kind): {
        type: $kind, name: .name, version: .version,
        purl: "pkg:cargo/\(.name)@\(.version)", "bom-ref": "pkg:cargo/\(.name)@\(.version)"
      } + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end);
    {
        bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
        metadata: {component: ($package[$root] | component("application"))},
        components: [($in - [$root])[] | $package[.] | component("library")] | sort_by(.purl)
    }'
