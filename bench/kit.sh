#!/bin/sh
# How long a spec of seven tests with 4000 simulated requests takes, the start of busted included: the median
# of 9 runs, in seconds.  To reach: 0.3.
#   kit.sh [MOONLATCH]
set -eu
binary=${1:-build/moonlatch}
cd "$(dirname "$0")/.."
for _ in 1 2 3 4 5 6 7 8 9; do
    begin=$(date +%s.%N)
    "$binary" test . spec/kit/speed_spec.lua >/dev/null
    end=$(date +%s.%N)
    echo "$begin $end" | awk '{ printf "%.3f\n", $2 - $1 }'
done | sort -n | sed -n 5p
