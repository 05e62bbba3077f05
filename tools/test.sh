#!/bin/sh
# Runs the tests against a build folder and sums them up in the last line: "N passed, N failed".
# The exit code is 1 when anything failed.
#   test.sh [BUILD]         every test of C and Lua
#   test.sh BUILD unit      those of C
set -u
build=${1:-build}
what=${2:-all}
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
log=$(mktemp)
reports=$(mktemp -d)
chmod 1777 "$reports" # workers may run as another user
trap 'rm -rf "$log" "$reports"' EXIT

# What a sanitizer finds in a process that the gateway starts again must count too, hence the files.
# LuaJIT's memory is not what the leak checker expects.
ASAN_OPTIONS=detect_leaks=0:log_path=$reports/report
UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/report
export ASAN_OPTIONS UBSAN_OPTIONS

# count NAME EXIT-CODE: adds up the "ok" and "not ok" lines of the log; an end without a failed test
# that is no success, a crash for one, counts as one more failure.
count() {
    ok=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^not ok ' "$log")
    if [ "$2" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
        echo "not ok: $1 ended with code $2" >>"$log"
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    printf '%-28s %4d passed %3d failed\n' "$1" "$ok" "$bad"
    [ "$bad" = 0 ] || cat "$log"
}

if ! cmake --build "$build" --target unit >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "0 passed, 1 failed"
    exit 1
fi
for file in core/test/test_*.c; do
    name=$(basename "$file" .c)
    timeout 120 "$build/$name" >"$log" 2>&1
    count "$name" $?
done

if [ "$what" = all ]; then
    # busted's own start script names another Lua; its TAP output is counted.
    MOONLATCH=$(cd "$build" && pwd)/moonlatch
    export MOONLATCH
    timeout 1500 luajit "$(command -v busted)" --ignore-lua -o TAP spec >"$log" 2>&1
    count "busted spec" $?
fi

for report in "$reports"/*; do
    [ -e "$report" ] || continue
    failed=$((failed + 1))
    echo "a sanitizer says:"
    cat "$report"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
