#!/usr/bin/env bash
# Checks that a tag is the version of everything that is released with it.
#   scripts/release/version.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:?give the tag, such as v1.2.3}
version=${tag#v}

fail() { echo "$*" >&2; exit 1; }
[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || fail "$tag is not a version: give one such as v1.2.3"
of_crate=$(sed -n '0,/^version = /s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[ "$of_crate" = "$version" ] || fail "Cargo.toml has version $of_crate: set it to $version"
of_chart=$(sed -n 's/^version: *//p' charts/peon-operator/Chart.yaml)
[ "$of_chart" = "$version" ] || fail "Chart.yaml has version $of_chart: set it to $version"
of_app=$(sed -n 's/^appVersion: *"\(.*\)"$/\1/p' charts/peon-operator/Chart.yaml)
[ "$of_app" = "$version" ] || fail "Chart.yaml has appVersion $of_app: set it to $version"
grep -q "^## \[$version\]" CHANGELOG.md || fail "CHANGELOG.md has no section [$version]: rename [Unreleased]"
echo "$version"
