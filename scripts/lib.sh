# Shared by the entry points in this folder: finds Python, keeps .venv, installs what a script needs.
# Sourced, never run. Everything it says goes to stderr, so that stdout stays the program's own.
# shellcheck shell=bash

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$root"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 DEBIAN_FRONTEND=noninteractive

# What the tests and benchmarks need from Debian. Kept in one place: scripts/test and scripts/bench use it.
browser_packages=(chromium firefox-esr xvfb x11-utils libx11-6 libxdamage1 libxext6 fonts-dejavu-core pulseaudio)
network_packages=(iproute2 nftables conntrack nginx-light libnginx-mod-stream) # namespaces, routers, balancers
deploy_packages=(caddy nginx-light openssl systemd wget) # proxies before the pages, and what reads docs/deploy
media_packages=(
  ffmpeg gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gstreamer1.0-plugins-bad
  gir1.2-gst-rtsp-server-1.0 python3-gi nginx-light libnginx-mod-rtmp
)
storm_packages=("${browser_packages[@]}" "${media_packages[@]}" faketime libfaketime) # for scripts/soak

if [[ -t 2 ]]; then mark=$'\033[1m==\033[0m'; else mark='=='; fi
say() { printf '%s %s\n' "$mark" "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND...: with sudo when we are not root; 1 when neither way is open.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    if [[ -t 0 ]]; then sudo "$@"; else sudo -n "$@"; fi
  else
    return 1
  fi
}

# debian_packages WHY PACKAGE...: installs those that are missing; nothing is asked of a machine that has them.
debian_packages() {
  local why=$1 package
  shift
  local missing=()
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system; for $why these must be there (Debian's names): $*"
    return
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing Debian packages for $why: ${missing[*]}"
  # shellcheck disable=SC2015
  as_root apt-get update -q >&2 && as_root apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
    die "cannot install them. As root, run: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
}

# Prints the first Python that is new enough.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "no Python 3.11 or newer found (python3, python3.11 to python3.14); on Debian: apt-get install python3 python3-venv. \
PYTHON=/path/to/python names another one"
}

ensure_venv() {
  local python
  [[ -x .venv/bin/python && -x .venv/bin/pip ]] && return
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || debian_packages "a virtual environment" python3-venv
  say "making .venv with $("$python" --version 2>&1) ($python)"
  "$python" -m venv --clear .venv
}

# once STAMP FILE... -- COMMAND...: runs COMMAND unless it has run for exactly these file contents.
once() {
  local stamp=$1 files=() now
  shift
  while [[ $1 != -- ]]; do
    files+=("$1")
    shift
  done
  shift
  now=$(cat -- "${files[@]}" | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$now" ]] && return
  "$@"
  printf '%s\n' "$now" >"$stamp"
}

install_gateway() {
  say "installing wtgateway and what it needs into .venv"
  .venv/bin/python -m pip install --quiet -e . >&2
}

install_development() {
  say "installing the development tools of pyproject.toml into .venv"
  .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1' >&2 # the first that knows --group
  .venv/bin/python -m pip install --quiet -e . --group dev >&2
}

ensure_gateway() {
  ensure_venv
  [[ -f .venv/.stamp-dev && $(<.venv/.stamp-dev) == $(sha256sum <pyproject.toml) ]] ||
    once .venv/.stamp-gateway pyproject.toml -- install_gateway
}

ensure_development() {
  ensure_venv
  once .venv/.stamp-dev pyproject.toml -- install_development
}

install_client() {
  say "installing the client's development tools into client/node_modules"
  (cd client && npm ci --no-audit --no-fund --loglevel=error >&2)
}

# Node runs the client's unit tests, its type checker and the bridge to Firefox; the gateway itself needs none.
ensure_client() {
  local needed=()
  command -v node >/dev/null || needed+=(nodejs)
  command -v npm >/dev/null || needed+=(npm)
  ((${#needed[@]})) && debian_packages "the client's tests" "${needed[@]}"
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)' ||
    die "node $(node --version) is too old; 18 or newer is needed"
  [[ -d client/node_modules ]] || rm -f client/node_modules/.stamp
  once client/node_modules/.stamp client/package.json client/package-lock.json -- install_client
}

in_venv() { .venv/bin/python "$@"; }
