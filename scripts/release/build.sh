#!/usr/bin/env bash
# Compiles a program as it is released, and prints where it is. The same sources and the same compiler give the same bytes,
# wherever the sources, Cargo's folder and the target folder are.
#   scripts/release/build.sh PROGRAM [TARGET]
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:?give a program, such as peon-operator}
target=${2:-$(rustc -vV | sed -n 's/^host: //p')}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

# The folders whose names would be in the programs. Where several contain a file, the compilers take the last one.
folders=("$cargo_home=/cargo" "$CARGO_TARGET_DIR=/target" "$PWD=/peon-operator")
# The folder of a registry's sources is named after its address, which a mirror changes. It is there when they are.
cargo fetch --locked --quiet >&2
for registry in "$cargo_home"/registry/src/*/; do
    folders+=("${registry%/}=/registry")
done
rust=() c=()
for folder in "${folders[@]}"; do
    rust+=("--remap-path-prefix=$folder")
    c+=("-ffile-prefix-map=$folder")
done
# Cargo's way to separate arguments that may have spaces, and that of the crate which compiles the C of ring.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo -n "${rust[*]}")
CFLAGS=$(printf '%q ' "${c[@]}")
export CARGO_ENCODED_RUSTFLAGS CFLAGS CC_SHELL_ESCAPED_FLAGS=1

cargo build --release --locked --quiet --bin "$program" --target "$target" >&2
echo "$CARGO_TARGET_DIR/$target/release/$program"
