#!/usr/bin/env bash
# Builds target/two-phase-commit.wasm from the C in src/.
#
# Comes in: clang and its linker with Debian's C library for Wasm, wit-bindgen, the binary `quorate`
# (QUORATE names it if it is not on the PATH). What is missing is installed, and said first.
# Goes out: a component that imports the contract and nothing of WASI.
# Ends with 69 when a tool is missing and cannot be had.
set -euo pipefail
quorate="${QUORATE:-quorate}"
case "$quorate" in */*) quorate="$(realpath "$quorate")" ;; esac
cd "$(dirname "$0")"

wit_bindgen_version=0.61.1
packages="clang-19 lld-19 wasi-libc"

say() { echo "build.sh: $*" >&2; }
unavailable() { say "$*"; exit 69; }

if ! command -v clang-19 wasm-ld-19 > /dev/null || ! [ -f /usr/lib/wasm32-wasi/libc.a ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null ||
    unavailable "needed: $packages (Debian's names); not root on Debian, so install them yourself"
  say "running apt-get install -y --no-install-recommends $packages"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >&2 ||
    unavailable "apt-get cannot get $packages"
fi

tools=target/tools
bindgen=$tools/bin/wit-bindgen
if ! "$bindgen" --version 2> /dev/null | grep -q " $wit_bindgen_version\$"; then
  say "running cargo install wit-bindgen-cli@$wit_bindgen_version into $PWD/$tools"
  # Not optimized: it reads one small file, and this takes half the time.
  cargo install --quiet --locked --debug --root "$tools" --no-default-features --features c \
    "wit-bindgen-cli@$wit_bindgen_version" >&2 || unavailable "cargo cannot get wit-bindgen-cli"
fi

generated=target/generated
if ! said="$("$bindgen" c ../../sdk/wit --world recipe --out-dir "$generated" 2>&1)"; then
  say "wit-bindgen failed: $said"
  exit 1
fi

# The library's header files and string functions; its start-up code and its `malloc` stay out, so
# nothing of WASI comes in. The stack comes first: one that overflows traps instead of spoiling data.
# Two pages hold stack, data and what a run allocates: growing memory costs more than the run.
clang-19 --target=wasm32-wasi -isystem /usr/include/wasm32-wasi -I"$generated" -Isrc \
  -std=c17 -Os -flto -mbulk-memory -Wall -Wextra -Werror \
  -fuse-ld="$(command -v wasm-ld-19)" -nostdlib -L/usr/lib/wasm32-wasi \
  -Wl,--no-entry,--stack-first,-z,stack-size=65536,--initial-memory=131072,--strip-debug \
  src/*.c "$generated/recipe.c" "$generated/recipe_component_type.o" -lc -o target/module.wasm

"$quorate" recipe build target/module.wasm --out target/two-phase-commit.wasm
