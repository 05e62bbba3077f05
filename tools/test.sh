#!/bin/sh
# Runs every test of C and Lua against a build folder and sums them up in the last line:
# "N passed, N failed".  The exit code is 1 when anything failed.
set -u
build=${1:-build}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cmake --build "$build" --target unit >"$log" 2>&1 || { tail -40 "$log"; echo "0 passed, 1 failed"; exit 1; }

# A C test prints "ok NAME" and "not ok NAME" lines; a crash counts as one more failure.
for file in core/test/test_*.c; do
    name=$(basename "$file" .c)
    timeout 300 "$build/$name" >"$log" 2>&1
    code=$?
    ok=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^not ok ' "$log")
    [ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + ok))
    failed=$((failed + bad))
    printf '%-28s %4d passed %3d failed\n' "$name" "$ok" "$bad"
    [ "$bad" = 0 ] || cat "$log"
done

# busted's own start script names lua5.2; its TAP output is counted.
MOONLATCH=$(cd "$build" && pwd)/moonlatch
export MOONLATCH
busted=$(command -v busted)
timeout 1500 luajit "$busted" --ignore-lua -o TAP spec >"$log" 2>&1
code=$?
ok=$(grep -c '^ok ' "$log")
bad=$(grep -c '^not ok ' "$log")
[ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
passed=$((passed + ok))
failed=$((failed + bad))
printf '%-28s %4d passed %3d failed\n' "busted spec" "$ok" "$bad"
[ "$bad" = 0 ] || cat "$log"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
