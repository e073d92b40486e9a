#!/bin/sh
# Installs what is missing, then runs the checks, the build and the whole test suite. Arguments go to vitest.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

find_node
ensure_installed
find_runtime
cd "$root"
npm run --silent check
npm run --silent build
exec npm test -- "$@"
