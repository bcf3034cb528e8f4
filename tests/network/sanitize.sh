#!/usr/bin/env bash
# The tests of the CPU's kernels with libraries that check themselves (AddressSanitizer, UndefinedBehaviorSanitizer).
#   tests/network/sanitize.sh [python] [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${1:-python}")
shift || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() {
  name=$1
  shift
  g++ -std=c++17 -g -O1 -ffp-contract=fast -fno-omit-frame-pointer -fPIC -shared -fvisibility=hidden \
    -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=undefined "$@" \
    "pipeline/network/native/$name.cpp" -o "$work/_hdrunet_kernels_$name.so"
}
build avx2 -mavx2 -mfma
build avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
# Python and torch keep much until the end on purpose.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$work"
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
"$python" -m pytest tests/network/test_native.py -p no:cacheprovider "$@"
