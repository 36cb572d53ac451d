#!/usr/bin/env bash
# Runs what bench/card/pack.sh packed beside this file, on a machine that can reach nothing: unpacks it, and measures until all is
# measured or the time is up. Needs tar and xz (or python3). Changes nothing outside its work folder and the results' folder.
# Usage: run.sh [--out DIR] [--work DIR] [--seconds 540] [--adapter NAME] [--model DIR] [--quick]
#   --out      results.jsonl and run.log (default: $OUT, else card-results here)
#   --work     where it unpacks, 8 GB at full size (default: a new folder in $TMPDIR or /tmp, removed at the end)
#   --adapter  part of the adapter's name; software adapters only so
#   --model    in place of the full-size SDXL of random weights that it makes otherwise
#   --quick    a dry run: small shapes, and the demo model (or that of --model) in place of SDXL
set -uo pipefail
started=$SECONDS
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-$PWD/card-results} work= seconds=540 quick=no more=() model=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --adapter) more+=(--adapter "$2"); shift 2 ;;
    --model) model=(--model "$2"); shift 2 ;;
    --quick) quick=yes; more+=(--quick); shift ;;
    *) echo "E_USAGE $1: there is no such option. Next: see the head of run.sh" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" || exit 5
fail() {
  printf '{"step":"unpack","ok":false,"error":"%s"}\n' "$1" >"$out/results.jsonl"
  echo "E_UNPACK $1" | tee -a "$out/run.log" >&2
  exit 5
}
if [ -n "$work" ]; then
  mkdir -p "$work" || fail "the work folder can not be made"
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/solvay-card-XXXXXX") || fail "no work folder"
  trap 'rm -rf "$work"' EXIT
fi
unxz_to_stdout() {
  if command -v xz >/dev/null; then
    xz -dc "$1"
  else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
  fi
}
mkdir -p "$work/solvay" "$work/bin" "$work/home" "$work/tmp"
unxz_to_stdout "$here/models.tar.xz" | tar -C "$work/solvay" -xf - || fail "models.tar.xz can not be unpacked"
unxz_to_stdout "$here/sources.tar.xz" | tar -C "$work/solvay" -xf - || fail "sources.tar.xz can not be unpacked"
unxz_to_stdout "$here/node.xz" >"$work/bin/node" || fail "node.xz can not be unpacked: no xz, no python3?"
mkdir -p "$work/solvay/node_modules/webgpu/dist/linux-x64"
unxz_to_stdout "$here/dawn.node.xz" >"$work/solvay/node_modules/webgpu/dist/linux-x64/dawn.node" || fail "dawn.node.xz"
chmod +x "$work/bin/node"
"$work/bin/node" --version >>"$out/run.log" 2>&1 || fail "the packed Node does not run here"

# Loaders that came along, where the machine has none; and a driver at the place that GPU containers mount it to.
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
if [ -d "$here/lib" ] && ! "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
  export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
mounted=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && [ -e "$mounted" ] && ! ls /usr/share/vulkan/icd.d/*nvidia* /etc/vulkan/icd.d/*nvidia* >/dev/null 2>&1; then
  export VK_DRIVER_FILES=$mounted __EGL_VENDOR_LIBRARY_FILENAMES=/usr/local/nvidia/share/glvnd/egl_vendor.d/10_nvidia.json
fi
unset NODE_OPTIONS
export HOME=$work/home TMPDIR=$work/tmp SOLVAY_STATE=$work/home/state XDG_CACHE_HOME=$work/home/cache
# As the command's launcher sets them.
export ORT_DISABLE_TELEMETRY=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_ARENA_MAX=1
solvay=$work/solvay
if [ "$quick" = no ] && [ "${#model[@]}" = 0 ]; then
  "$work/bin/node" "$solvay/scripts/synth-sdxl.ts" "$work/sdxl" >>"$out/run.log" 2>&1 || fail "the weights can not be made"
  model=(--model "$work/sdxl")
fi
left=$((seconds - (SECONDS - started)))
# It keeps to its time by itself; this is for the case that it can't.
timeout -k 5 $((left + 15)) "$work/bin/node" --max-semi-space-size=2 "$solvay/src/cli/main.ts" bench \
  --report "$out/results.jsonl" --seconds "$left" ${model[@]+"${model[@]}"} ${more[@]+"${more[@]}"} 2>&1 | tee -a "$out/run.log"
exit "${PIPESTATUS[0]}"
