#!/usr/bin/env bash
# Installs what the tests need beside Python: `.ci/servers.sh [THING...]`, by default what tests/parity, tests/oracles, tests/unit/keystore, tests/unit/anomaly/test_engines.py, tests/flow/test_statement.py and tests/browser need.
# Says one line per thing, does nothing for what is there, and asks nobody: no outside network but the package sources.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s: %s\n' "$1" "$2"; }

# debian NAME COMMAND PACKAGE...: installs the packages when the command is absent.
debian() {
  local name=$1 command=$2
  shift 2
  if type -P "$command" >/dev/null; then say "$name" present; return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "$name" "absent; as root: apt-get install $*"
    return 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends -y "$@" >/dev/null
  say "$name" installed
}

install_compiler() { debian compiler g++ g++ make python3; }
install_node() { debian node node nodejs npm libnode-dev; }
install_chromium() {
  if type -P chromium >/dev/null; then say chromium present; return; fi
  debian chromium chromium-headless-shell chromium-headless-shell
}
install_openssl() { debian openssl openssl openssl; }
install_softhsm() { debian softhsm softhsm2-util softhsm2; }
install_go() { debian go go golang-go golang-golang-x-mod-dev; }

# Verifiers that nobody here wrote, for tests/oracles; what finds faults of accessibility, for tests/browser.
install_oracles() { pinned oracles; }
install_axe() { pinned browser; }

# Engines that a look back can run on, for tests/unit/anomaly/test_engines.py; apart from the project's own environment.
install_engines() {
  local pins=tests/engines cache=tests/.cache/engines lock pip
  debian java java openjdk-17-jre-headless || return 1
  lock=$(cat "$pins"/*.lock | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$cache/installed" 2>/dev/null)" = "$lock" ]; then say engines present; return; fi
  rm -rf "$cache"
  python3 -m venv "$cache"
  pip="$cache/bin/pip --quiet --disable-pip-version-check install --no-deps --require-hashes"
  { $pip -r "$pins/build.lock" && $pip --no-build-isolation -r "$pins/requirements.lock"; } >"$cache/install.log" 2>&1 ||
    { say engines "not installed: read $cache/install.log"; return 1; }
  echo "$lock" >"$cache/installed"
  say engines "installed in $SECONDS s"
}

# pinned NAME: what the lock of tests/NAME pins.
pinned() {
  local pins=tests/$1 cache=tests/.cache/$1 lock
  install_node || return 1
  lock=$(sha256sum "$pins/package-lock.json" | cut -d' ' -f1)
  if [ "$(cat "$cache/installed" 2>/dev/null)" = "$lock" ]; then say "npm for $1" present; return; fi
  mkdir -p "$cache"
  rm -f "$cache/installed"
  cp "$pins/package.json" "$pins/package-lock.json" "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >install.log 2>&1) ||
    { say "npm for $1" "not installed: read $cache/install.log"; return 1; }
  echo "$lock" >"$cache/installed"
  say "npm for $1" installed
}

# Directus is one npm tree and one native module, sqlite3, whose prebuilt form is not in the npm registry: build it here.
install_directus() {
  local pins=tests/parity/directus cache=tests/.cache/directus lock
  lock=$(sha256sum "$pins/package-lock.json" | cut -d' ' -f1)
  if [ "$(cat "$cache/installed" 2>/dev/null)" = "$lock" ]; then say directus present; return; fi
  mkdir -p "$cache"
  rm -f "$cache/installed"
  cp "$pins/package.json" "$pins/package-lock.json" "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >install.log 2>&1 && build_sqlite3 >>install.log 2>&1) ||
    { say directus "not installed: read $cache/install.log"; return 1; }
  echo "$lock" >"$cache/installed"
  say directus "installed in $SECONDS s"
}

# -O1: the amalgamation takes half the time, and tests do not feel it.
build_sqlite3() {
  local prefix
  prefix=$(node -p 'path.dirname(path.dirname(process.execPath))')
  if [ ! -f "$prefix/include/node/node.h" ]; then
    echo "Node's headers are not in $prefix/include/node: install them beside node (Debian: libnode-dev)"
    return 1
  fi
  (cd node_modules/sqlite3 && CFLAGS=-O1 ../.bin/node-gyp rebuild "--nodedir=$prefix" && rm -rf build/Release/obj*)
}

[ $# -gt 0 ] || set -- axe chromium compiler node directus engines go openssl oracles softhsm
for thing; do
  case $thing in
    axe | chromium | compiler | node | directus | engines | go | openssl | oracles | softhsm) "install_$thing" ;;
    *) say "$thing" "unknown; one of: axe chromium compiler node directus engines go openssl oracles softhsm"; exit 2 ;;
  esac
done
