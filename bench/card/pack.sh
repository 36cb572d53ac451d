#!/usr/bin/env bash
# Packs everything that bench/card/run.sh needs on a machine that can reach nothing: the pinned Node and Dawn for x64 Linux,
# Solvay's sources, the demo model. Fetches nothing: `npm ci` comes before.
# Usage: bench/card/pack.sh [--level 0..9] [--limit-mib 55] [--libraries DIR] [FOLDER]     (default FOLDER: bench/tmp/card)
#   --libraries  a folder of .deb files (Vulkan's and EGL's loaders, say) for a machine that lacks them
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$root/bench/tmp/card level=6 limit=55 libraries=
while [ $# -gt 0 ]; do
  case $1 in
    --level) level=$2; shift 2 ;;
    --limit-mib) limit=$2; shift 2 ;;
    --libraries) libraries=$(cd "$2" && pwd); shift 2 ;;
    -*) echo "E_USAGE $1: there is no such option. Next: see the head of bench/card/pack.sh" >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
modules=$root/node_modules
node=$modules/node/bin/node dawn=$modules/webgpu/dist/linux-x64/dawn.node
for file in "$node" "$dawn" "$modules/commander" "$modules/zod"; do
  [ -e "$file" ] || { echo "E_PACK ${file#"$root"/}: is missing. Next: run npm ci" >&2; exit 5; }
done
part=$(mktemp -d "${TMPDIR:-/tmp}/solvay-pack-XXXXXX")
trap 'rm -rf "$part"' EXIT

# A dictionary of the whole, but where only time counts.
dictionary=,dict=64MiB
[ "$level" != 0 ] || dictionary=
# Machine code with symbols left out (a tenth less), by the filter made for it. Kept for the next time: it takes two minutes.
pack() {
  local kept=$root/bench/tmp/packed-$level-$(sha256sum "$1" | cut -c1-16).xz
  if [ ! -e "$kept" ]; then
    strip -o "$part/stripped" "$1" 2>/dev/null || cp "$1" "$part/stripped"
    mkdir -p "$root/bench/tmp"
    xz -T0 --x86 --lzma2="preset=$level$dictionary" -c "$part/stripped" >"$kept.part"
    mv "$kept.part" "$kept"
  fi
  cp "$kept" "$part/card/$2"
}
mkdir "$part/card"
pack "$node" node.xz
pack "$dawn" dawn.node.xz
# Random weights give a tenth, by frequencies alone: nothing in them comes twice, and not to look for it saves most of the time.
# Kept, too.
tar -C "$root" --sort=name -cf "$part/models.tar" models
models=$root/bench/tmp/models-$(sha256sum "$part/models.tar" | cut -c1-16).xz
if [ ! -e "$models" ]; then
  xz -T0 --lzma2=preset=0,mode=fast,nice=2,mf=hc3,depth=1,dict=4KiB -c "$part/models.tar" >"$models.part"
  mv "$models.part" "$models"
fi
cp "$models" "$part/card/models.tar.xz"
tar -C "$root" --exclude='*.map' --exclude='*.cjs' --exclude='*.cts' -cf - src scripts/synth-sdxl scripts/synth-sdxl.ts \
  package.json node_modules/commander node_modules/zod \
  node_modules/webgpu/index.js node_modules/webgpu/package.json node_modules/webgpu/LICENSE.md |
  xz -T1 -"$level" -c >"$part/card/sources.tar.xz"
cp "$root/bench/card/run.sh" "$part/card/"
if [ -n "$libraries" ]; then
  mkdir "$part/card/lib" "$part/deb"
  for deb in "$libraries"/*.deb; do dpkg -x "$deb" "$part/deb"; done
  find "$part/deb" -name 'lib*.so.*' -exec cp -P {} "$part/card/lib/" \;
fi
bytes=$(find "$part/card" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
echo "$out: $bytes bytes ($((bytes / 1048576)) MiB, allowed $limit)"
if [ "$bytes" -gt $((limit * 1048576)) ]; then
  echo "E_PACK $out: is larger than $limit MiB. Next: a higher --level, or binutils for strip" >&2
  exit 5
fi
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$part/card" "$out"
