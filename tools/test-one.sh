#!/bin/sh
# One test for test.sh: test-one.sh BUILD RESULTS TEST, where TEST is a program of the build folder or
# a spec.  Says in one line what came of it, with what it printed when it failed, and leaves the numbers in
# the folder RESULTS.
set -u
build=$1
results=$2
test=$3
limit_s=300
name=$(echo "$test" | tr / .)
log=$results/$name.log
MOONLATCH_TEST=
case $test in e2e:*) MOONLATCH_TEST=e2e ;; esac
# a build that reads byte by byte is slow, and shows pieces where others show wholes
MOONLATCH_HARD=
grep -q '^ML_HARD:BOOL=ON' "$build/CMakeCache.txt" && MOONLATCH_HARD=1
export MOONLATCH_TEST MOONLATCH_HARD
file=${test#e2e:}

case $test in
*_spec.lua) # busted's own start script names another Lua; its TAP output is counted
    # a module with a sanitizer needs the sanitizer's library before all others, and that one looks for crypt
    # when it starts
    preload=
    if grep -q '^ML_SANITIZE:BOOL=ON' "$build/CMakeCache.txt" &&
        grep -Eq 'moonlatch(\.| )test|spec\.support\.(policy|caching)' "$file"; then
        preload="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libcrypt.so)"
    fi
    LD_PRELOAD="$preload" MOONLATCH_KIT=$build/moonlatch_kit.so MOONLATCH=$build/moonlatch timeout -k 10 "$limit_s" \
        luajit "$(command -v busted)" --ignore-lua -o TAP "$file" >"$log" 2>&1 </dev/null
    ;;
*) timeout -k 10 "$limit_s" "$build/$test" >"$log" 2>&1 </dev/null ;;
esac
code=$?

# An end without a failed test that is no success, a crash for one, counts as one more failure, and so
# does a test program without a test.
ok=$(grep -a -c '^ok ' "$log")
bad=$(grep -a -c '^not ok ' "$log")
if [ "$bad" = 0 ] && { [ "$code" != 0 ] || [ "$ok" = 0 ]; }; then
    bad=1
    echo "not ok: $test ended with code $code" >>"$log"
fi
echo "$ok $bad" >"$results/$name.sum"
line=$(printf '%-38s %4d passed %3d failed' "$test" "$ok" "$bad")
[ "$bad" = 0 ] || line="$line
$(grep -a -v "^ok " "$log")"
printf '%s\n' "$line"
