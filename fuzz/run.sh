#!/bin/sh
# run.sh [SECONDS [NAME...]]: builds the harnesses with the address and undefined-behaviour
# sanitizers and runs each (or the named ones) for that time.  Exit 1 when one of them crashed; the
# input that did it is then in build/fuzz/NAME-crash-*.  What is learned on the way is kept in
# build/fuzz/corpus; the seeds in fuzz/corpus are only read.
set -eu
cd "$(dirname "$0")/.."
time_s=${1:-30}
[ $# -eq 0 ] || shift
case "$time_s" in '' | *[!0-9]*) echo "usage: run.sh [SECONDS [NAME...]]" >&2; exit 2 ;; esac
sh tools/packages.sh fuzz

# pointer-overflow would complain of NULL + 0, which an empty buffer or string is.
out=${BUILD:-build}/fuzz
flags="-std=gnu11 -O1 -g -Wall -Wextra -Wshadow -Wno-unused-parameter -fno-strict-aliasing
       -D_GNU_SOURCE -DML_HARD=1 -Icore -fsanitize=fuzzer,address,undefined
       -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
sources="core/base/arena.c core/base/buf.c core/base/clock.c core/base/err.c core/base/hash.c core/protocol/*.c
         core/script/router.c core/script/pattern.c core/script/condition.c"
# libjwt and OpenSSL for the one that needs them
tokens="core/base/base64url.c core/base/json_scan.c core/base/json.c core/base/jw*.c -ljwt -lcrypto"
replies="core/outbound/redis_reply.c core/outbound/redis_conf.c core/outbound/redis_command.c -lhiredis"
# what a whole connection needs, instead of the few files above
connection="core/base/*.c core/protocol/*.c core/transport/*.c core/inbound/*.c
            -mcx16 -lnghttp2 -lev -lcares -lssl -ljwt -lcrypt -lm"
names=$*
[ -n "$names" ] || names="request response chunks url router jwt redis proxy_protocol websocket http2 h2"

failed=0
for name in $names; do
    mkdir -p "$out/corpus/$name"
    libraries=
    parts=$sources
    [ "$name" != h2 ] || parts=$connection
    [ "$name" != jwt ] || libraries=$tokens
    [ "$name" != redis ] || libraries=$replies
    # shellcheck disable=SC2086
    clang $flags "fuzz/fuzz_$name.c" $parts $libraries -lz -lbrotlienc -lbrotlidec -lcrypto -o "$out/fuzz_$name"
    echo "fuzz: $name for $time_s s"
    if "$out/fuzz_$name" -max_total_time="$time_s" -max_len=3000 -timeout=10 -rss_limit_mb=1024 \
        -dict=fuzz/http.dict -artifact_prefix="$out/$name-" -print_final_stats=1 \
        "$out/corpus/$name" "fuzz/corpus/$name" >"$out/$name.log" 2>&1; then
        grep -E 'number_of_executed_units|new_units_added' "$out/$name.log" | sed 's/^stat::/  /'
    else
        tail -n 60 "$out/$name.log"
        echo "fuzz: $name FAILED, see $out/$name.log" >&2
        failed=1
    fi
done
exit $failed
