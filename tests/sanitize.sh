#!/usr/bin/env bash
# The tests of what is native, with libraries that check themselves (AddressSanitizer, UndefinedBehaviorSanitizer).
#   tests/sanitize.sh [python] [pytest arguments]
# They lie in a folder of their own, beside a copy of the vapoursynth package: what is installed is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:-python}")
shift || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$("$python" -c 'import importlib.util as u; print(u.find_spec("vapoursynth").submodule_search_locations[0])')
cp -r "$package" "$work/vapoursynth"
rm -rf "$work/vapoursynth/plugins"
mkdir -p "$work/vapoursynth/plugins/hdrunet"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
build() {
  g++ -std=c++17 -g -O1 -fno-omit-frame-pointer -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror \
    -fsanitize=address,undefined -fno-sanitize-recover=undefined "$@"
}
build -Wl,-z,lazy -DPy_LIMITED_API=0x030C0000 -DVS_USE_API_42 -DHDRUNET_VERSION_MAJOR=0 -DHDRUNET_VERSION_MINOR=1 \
  -I"$include" -I"$work/vapoursynth/include" plugin/native/*.cpp -o "$work/vapoursynth/plugins/hdrunet/libhdrunet.so"
builds=()
for instructions in avx2 avx512 avx512_bf16 amx_bf16; do
  build -mavx2 -mfma -Wno-psabi -include tests/network/emulated.h "pipeline/network/native/$instructions.cpp" \
    -o "$work/_hdrunet_kernels_$instructions.so" &
  builds+=($!)
done
for each in "${builds[@]}"; do wait "$each"; done
export HDRUNET_TEST_EMULATED=1
# Python and torch keep much until the end on purpose, so leaks are left to test_memory.py.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$work"
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
# Memory under a sanitizer says nothing about memory without one, and the guide's other tools are not ours to preload.
# OpenVINO opens its libraries with RTLD_DEEPBIND, which AddressSanitizer ends the process for.
"$python" -m pytest tests/plugin tests/network/test_native{,_modulation,_refusals}.py -m 'not slow' \
  --ignore tests/plugin/test_memory.py --ignore tests/plugin/test_guide.py -p no:cacheprovider \
  --deselect tests/plugin/test_frames.py::test_openvino_in_place_of_our_own_code "$@"
