#!/bin/sh
# npm.sh PROGRAM: tests beside libraries of npm (spec/npm), which it installs there.  Needs the network,
# node, npm and chromium.
set -eu
cd "$(dirname "$0")/.."
{ command -v node && command -v npm && command -v chromium; } >/dev/null || sh tools/packages.sh npm
npm ci --prefix spec/npm --no-audit --no-fund --loglevel=error
MOONLATCH=$1 busted --pattern=_npm spec/npm
