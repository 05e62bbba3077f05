#!/bin/sh
# Writes a C file that holds Lua files as bytes: embed.sh OUT.c FILES...
# FILES are named from the top of the checkout ("lua/moonlatch/init.lua"); their names in the
# program begin below lua/ ("moonlatch/init.lua").  NAME=x in the environment: x_files and x_count.
set -eu
out=$1
shift
name=${NAME:-ml_embed}
temporary=$out.new
trap 'rm -f "$temporary"' EXIT

{
    echo '/* Made by tools/embed.sh. */'
    echo '#include "script/embed.h"'
    number=0
    for file; do
        [ -r "$file" ] || { echo "embed.sh: cannot read $file" >&2; exit 1; }
        echo "static const unsigned char file_$number[] = {"
        # " 108 111" becomes "108,111,"; the zero at the end keeps an empty file from being no array.
        od -An -v -tu1 "$file" | sed 's/^ *//; s/  */,/g; s/$/,/'
        echo '0};'
        number=$((number + 1))
    done
    echo "const struct ml_embed ${name}_files[] = {"
    number=0
    for file; do
        echo "    {\"${file#lua/}\", (const char *)file_$number, sizeof file_$number - 1},"
        number=$((number + 1))
    done
    echo '    {0, 0, 0}};'
    echo "const unsigned ${name}_count = $number;"
} >"$temporary"
mv "$temporary" "$out"
