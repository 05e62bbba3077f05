#!/bin/sh
# Lua by luacheck; no warnings allowed.
set -eu
cd "$(dirname "$0")/.."
luacheck --quiet lua examples spec
