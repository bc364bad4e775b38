#!/usr/bin/env bash
# Builds a commit twice, in folders of different names with different folders of Cargo, and compares the bytes.
#   scripts/release/twice.sh [COMMIT [TARGET]]
# Takes twice the time of a build, and 3 GB in the folder for temporary files (TMPDIR).
set -euo pipefail
cd "$(dirname "$0")/../.."
commit=$(git rev-parse --verify "${1:-HEAD}^{commit}")
target=${2:-$(rustc -vV | sed -n 's/^host: //p')}
sources=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME CARGO_HOME PROGRAM: the checksum of the program
build() {
    local folder=$work/$1/peon-operator
    [ -d "$folder" ] || { git clone --quiet "$sources" "$folder" && git -C "$folder" checkout --quiet "$commit"; } >&2
    local built
    built=$(CARGO_HOME=$2 CARGO_TARGET_DIR=$work/$1/target "$folder/scripts/release/build.sh" "$3" "$target")
    sha256sum <"$built" | cut -d ' ' -f 1
}
# The other one has dependencies of its own, in a folder with a longer name and a space.
other="$work/another folder/cargo"
mkdir -p "$other/registry"
cp -R "$cargo_home/registry/." "$other/registry"
[ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$other"

differ=0
for program in peon-operator kubectl-peon; do
    first=$(build first "$cargo_home" "$program")
    second=$(build "another folder" "$other" "$program")
    if [ "$first" = "$second" ]; then
        echo "$program: both builds of ${commit:0:12} for $target have the checksum $first"
    else
        echo "$program: $first and $second: what is built depends on where it is built" >&2
        differ=1
    fi
done
exit "$differ"
