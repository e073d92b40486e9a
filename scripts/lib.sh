# shellcheck shell=sh
# Shared by the scripts beside it, which set `root` (the project folder) before they source it: the right Node.js,
# installed packages, a fresh build.
: "${root:?}"

say() {
  printf '%s\n' "$*"
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Sets `node`: the pinned one once it is installed, else the one of the system.
find_node() {
  node=$root/node_modules/.bin/node
  if "$node" --version >/dev/null 2>&1; then return; fi
  node=$(command -v node) || fail 'Node.js is not installed: install version 20 or newer with npm, from https://nodejs.org.'
  "$node" -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
    fail "Node.js $("$node" --version) is too old: install version 20 or newer, from https://nodejs.org."
}

# Like find_node, for what runs after the installation: not every platform has the pinned one.
find_runtime() {
  find_node
  if [ "$node" = "$root/node_modules/.bin/node" ]; then return; fi
  "$node" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 13) ? 0 : 1)' ||
    fail "The gateway needs Node.js 22.13 or newer on this platform, and this is $("$node" --version): install it from https://nodejs.org."
}

# Runs a quiet step: $1 says what it is, the rest is the command. Its output is shown only when it fails.
quietly() {
  step=$1
  shift
  say "$step ..."
  output=$("$@" 2>&1) && return
  case $output in
    *ENOSPC* | *'no space left'* | *'No space left'*) fail "The disk is full: free some space, then run this again ($step)." ;;
  esac
  printf '%s\n' "$output" | head -n 25 >&2
  fail "$step failed; the lines above say why."
}

in_root() {
  (cd "$root" && "$@")
}

# Installs the packages when they are absent, half installed, or older than the lock file. A link to a folder elsewhere is
# replaced by a folder of its own: installing would empty what it leads to.
ensure_installed() {
  marker=$root/node_modules/.package-lock.json
  if [ -f "$marker" ] && [ -z "$(find "$root/package-lock.json" -newer "$marker")" ]; then return; fi
  command -v npm >/dev/null 2>&1 || fail 'npm is not installed: it comes with Node.js, from https://nodejs.org.'
  "$node" "$root/scripts/gateway-tool.mjs" room "$root" 600 || exit 1
  if [ -L "$root/node_modules" ]; then rm "$root/node_modules" || exit 1; fi
  quietly 'Installing the packages' in_root npm ci --include=dev --include=optional --loglevel=error
}

# Builds when a source is newer than the last build.
ensure_built() {
  stamp=$root/dist/.built
  if [ -f "$stamp" ] && [ -z "$(newer_sources | head -n 1)" ]; then return; fi
  mkdir -p "$root/dist" 2>/dev/null || fail "The folder $root/dist cannot be made: it must be writable to build the gateway."
  # Taken before the build, so that what changes during it counts as newer.
  touch "$stamp.new"
  quietly 'Building the gateway' in_root npm run --silent build
  mv "$stamp.new" "$stamp"
}

newer_sources() {
  for source in src cli verifier packages examples package.json package-lock.json tsconfig.json tsconfig.build.json; do
    if [ -e "$root/$source" ]; then find "$root/$source" -newer "$stamp"; fi
  done
}
