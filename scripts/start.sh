#!/bin/sh
# Installs, builds and starts the gateway in development mode, with the embedded PostgreSQL and sample MCP servers.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
main=$root/dist/src/main.js
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

usage() {
  cat <<'TEXT'
Usage: ./scripts/start.sh [--foreground | --stop | --help]

Starts the gateway in the background and prints what to try. Running it again only prints that again.

  --foreground   stay in this terminal; Ctrl-C stops the gateway
  --stop         stop the gateway that was started in the background
  --help         print this

Settings come from the environment, and in development from .env and .env.local in the project folder:
  TALOS_GATEWAY_PORT or PORT   the port (8000)
  TALOS_DATA_DIR               where data, log and pid are kept (.talos in the project folder)
  DATABASE_URL                 a PostgreSQL of your own instead of the embedded one
TEXT
}

# Sets what the gateway, and this script, are told by the environment. A relative data folder is seen from where it was
# given: the working folder, or the project folder when an env file names it.
load_settings() {
  base=${TALOS_DATA_DIR:+$PWD}
  DEV_MODE=${DEV_MODE:-true}
  case $DEV_MODE in
    false | 0 | no | off | FALSE | False) ;;
    *) if [ -e "$root/.env" ] || [ -e "$root/.env.local" ]; then load_env_files; fi ;;
  esac
  TALOS_GATEWAY_PORT=${TALOS_GATEWAY_PORT:-${PORT:-8000}}
  TALOS_BIND_HOST=${TALOS_BIND_HOST:-127.0.0.1}
  TALOS_DATA_DIR=${TALOS_DATA_DIR:-$root/.talos}
  case $TALOS_DATA_DIR in
    /*) ;;
    *) TALOS_DATA_DIR=${base:-$root}/$TALOS_DATA_DIR ;;
  esac
  # What the samples call `node` is the one that runs the gateway.
  PATH=$root/node_modules/.bin:$PATH
  export DEV_MODE TALOS_GATEWAY_PORT TALOS_BIND_HOST TALOS_DATA_DIR PATH
}

load_env_files() {
  assignments=$(tool env "$root") || exit 1
  eval "$assignments"
}

# One spelling for one folder, by which a running gateway is known.
resolve_data_dir() {
  TALOS_DATA_DIR=$(cd -- "$TALOS_DATA_DIR" && pwd -P) || fail "The data folder $TALOS_DATA_DIR cannot be entered by this user."
}

tool() {
  "$node" "$root/scripts/gateway-tool.mjs" "$@"
}

gateway_url() {
  case $TALOS_BIND_HOST in
    0.0.0.0 | ::) host=127.0.0.1 ;;
    *:*) host="[$TALOS_BIND_HOST]" ;;
    *) host=$TALOS_BIND_HOST ;;
  esac
  scheme=http
  if [ -n "${TALOS_TLS_CERT_FILE:-}" ]; then scheme=https; fi
  printf '%s' "$scheme://$host:$TALOS_GATEWAY_PORT"
}

store_kind() {
  if [ -n "${TALOS_DATABASE_URL:-}${DATABASE_URL:-}${DATABASE_WRITE_URL:-}${DB_HOST:-}" ]; then printf external; else printf embedded; fi
}

# Points the gateway at the sample servers, unless there is a configuration already, and at an issuer key to try out.
prepare_sample() {
  if [ -z "${TALOS_CONFIG:-}" ] && [ ! -e "$root/talos.config.yaml" ]; then
    TALOS_CONFIG=$root/examples/quickstart.config.yaml
    export TALOS_CONFIG
  fi
  issuer=$("$node" "$root/dist/cli/talos.js" quickstart issuer --data-dir "$TALOS_DATA_DIR") || exit 1
  TALOS_TRUSTED_ISSUERS=${TALOS_TRUSTED_ISSUERS:+$TALOS_TRUSTED_ISSUERS,}$issuer
  export TALOS_TRUSTED_ISSUERS
}

# $1 is the address of the gateway.
print_hints() {
  say ''
  "$node" "$root/dist/cli/talos.js" quickstart hints --data-dir "$TALOS_DATA_DIR" --url "$1"
  say ''
  say "Its data, its log (gateway.log) and its pid (gateway.pid) are in $TALOS_DATA_DIR"
}

# One start at a time in a data folder; one that was killed does not count.
take_turn() {
  turn=$TALOS_DATA_DIR/start.lock
  waited=0
  until mkdir "$turn" 2>/dev/null; do
    holder=$(cat "$turn/pid" 2>/dev/null || true)
    if [ "$waited" -ge 600 ]; then fail "Another start is at work in $TALOS_DATA_DIR; if none is, delete $turn."; fi
    # Without a pid it was killed on the spot, or is about to write it.
    if [ -z "$holder" ] && [ "$waited" -ge 3 ]; then holder=gone; fi
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf "$turn" 2>/dev/null || fail "The folder $turn was left behind by another user and must be deleted."
    else
      sleep 1
    fi
    waited=$((waited + 1))
  done
  trap end_turn EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  printf '%s\n' "$$" >"$turn/pid"
}

end_turn() {
  rm -rf "$turn"
}

stop_gateway() {
  if [ -d "$TALOS_DATA_DIR" ]; then resolve_data_dir; fi
  tool stop "$TALOS_DATA_DIR" "$main"
}

start_in_background() {
  say 'Starting the gateway ...'
  tool launch "$main" "$root" "$TALOS_DATA_DIR" "$1" || exit 1
  end_turn
  print_hints "$1"
}

# The shell becomes the gateway, so that signals reach it; the hints come from a process of their own, two forks away
# so that the gateway need not collect it.
start_in_foreground() {
  printf '%s\n' "$$" >"$TALOS_DATA_DIR/gateway.pid"
  printf '%s\n' "$1" >"$TALOS_DATA_DIR/gateway.url"
  ( ( if tool await "$$" "$1"; then print_hints "$1"; fi ) & )
  end_turn
  cd "$root"
  exec "$node" "$main"
}

start_gateway() {
  if [ ! -w "$TALOS_DATA_DIR/gateway.log" ]; then tool prepare "$TALOS_DATA_DIR" || exit 1; fi
  resolve_data_dir
  take_turn
  if [ -e "$TALOS_DATA_DIR/gateway.pid" ] && url=$(tool running "$TALOS_DATA_DIR" "$main"); then
    end_turn
    say "The gateway is already running at $url"
    print_hints "$url"
    return
  fi
  ensure_installed
  ensure_built
  find_runtime
  tool check "$TALOS_DATA_DIR" "$TALOS_BIND_HOST" "$TALOS_GATEWAY_PORT" "$(store_kind)" || exit 1
  prepare_sample
  "start_in_$1" "$(gateway_url)"
}

mode=background
for argument in "$@"; do
  case $argument in
    --foreground) mode=foreground ;;
    --stop) mode=stop ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      printf 'Unknown option: %s\n\n' "$argument" >&2
      usage >&2
      exit 2
      ;;
  esac
done

find_node
load_settings
if [ "$mode" = stop ]; then stop_gateway; else start_gateway "$mode"; fi
