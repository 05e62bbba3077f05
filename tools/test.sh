#!/bin/sh
# Runs the tests against a build folder and sums them up in the last line: "N passed, N failed".
# The exit code is 1 when anything failed.
#   test.sh [BUILD]         every test of C and Lua
#   test.sh BUILD unit      those of C
# JOBS tests run at a time; no test minds what runs beside it.
set -u
build=${1:-build}
what=${2:-all}
cd "$(dirname "$0")/.." || exit 1
build=$(cd "$build" && pwd) || exit 1
jobs=${JOBS:-$(($(nproc) + 1))}
results=$(mktemp -d)
reports=$results/sanitizer
mkdir "$reports"
chmod 711 "$results"
chmod 1777 "$reports" # workers may run as another user
trap 'rm -rf "$results"' EXIT
trap 'exit 1' INT TERM

# What a sanitizer finds in a process that the gateway starts again must count too, hence the files.
# LuaJIT's memory is not what the leak checker expects.
ASAN_OPTIONS=detect_leaks=0:log_path=$reports/report
UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/report
export ASAN_OPTIONS UBSAN_OPTIONS

if ! cmake --build "$build" --target unit moonlatch_kit moonlatch_world >"$results/build" 2>&1; then
    tail -n 60 "$results/build"
    echo "0 passed, 1 failed"
    exit 1
fi

# The specs take longest, so they come first.
list() {
    [ "$what" != all ] || find spec -name '*_spec.lua' | sort
    # those of the kit run against the real program too, in a simulation else
    [ "$what" != all ] || grep -lE 'moonlatch\.test"|spec\.support\.(policy|caching)"' spec/*/*_spec.lua |
        grep -v -e speed_spec -e same_spec -e command_spec | sed 's/^/e2e:/'
    for file in core/test/test_*.c; do basename "$file" .c; done
}
list >"$results/list"
xargs -P "$jobs" -I '{}' sh tools/test-one.sh "$build" "$results" '{}' <"$results/list"

# A test that left no numbers did not run.
passed=0
failed=$(wc -l <"$results/list")
for sum in "$results"/*.sum; do
    read -r ok bad <"$sum" || continue
    passed=$((passed + ok))
    failed=$((failed + bad - 1))
done
for report in "$reports"/*; do
    [ -e "$report" ] || continue
    failed=$((failed + 1))
    echo "a sanitizer says:"
    cat "$report"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
