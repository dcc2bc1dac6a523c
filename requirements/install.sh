#!/usr/bin/env bash
# Brings a virtual environment to the locked state: requirements/install.sh VENV cpu|cuda PYTHON
# Does nothing when that was done before with the same files, so `make` calls it every time.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 lock=requirements/$2.txt python=${3:-}

fail() {
    printf 'groundrule: %s\n' "$*" >&2
    exit 2
}

[ -n "$python" ] || fail "no Python found: install Python 3.11 (with its venv module)"
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
found=$(version_of "$python") ||
    fail "$python does not run: install Python 3.11, or name one with: make PYTHON=/path/to/python3.11"
case $found in
3.11 | 3.12) ;;
*) fail "$python is Python $found; 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11" ;;
esac

inputs=("$lock" requirements/uv.txt requirements/install.sh clients/python/pyproject.toml)
state="$found $2 $(cat "${inputs[@]}" | sha256sum | cut -c1-16)"
stamp=$venv/.groundrule-installed
is_ready() { [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; }

is_ready && exit 0
mkdir -p .cache "$(dirname "$venv")"
# Two demos started at once share the environment: the second waits here, then finds it ready.
exec 9>.cache/install.lock
if command -v flock >/dev/null && ! flock -n 9; then
    echo "groundrule: another make is installing into $venv, waiting for it"
    flock 9
fi
is_ready && exit 0

if [ "$2" = cuda ] && ! nvidia-smi -L >/dev/null 2>&1; then
    fail "MODEL needs a CUDA GPU, and nvidia-smi finds none here; without MODEL the demo runs on the CPU"
fi
# vLLM's kernels for CPUs link it. Asked by loading it, since ldconfig is not in everybody's PATH.
if [ "$2" = cpu ] && ! "$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' >/dev/null 2>&1; then
    fail "libnuma.so.1 is missing, and the engine needs it: install libnuma1 (Debian, Ubuntu) or numactl-libs (Fedora)"
fi
command -v cc >/dev/null || command -v gcc >/dev/null || fail "no C compiler found (cc): the engine needs one"
echo "groundrule: installing $lock into $venv (once; about 6 GB on disk)"
rm -f "$stamp"
# One that was interrupted while it was created has no pip.
if [ "$(version_of "$venv/bin/python")" != "$found" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! [ -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        fail "$venv is no virtual environment, so it is left alone: remove it, or choose another place with VENV="
    fi
    "$python" -m venv --clear "$venv" || fail "$python cannot create environments: install its venv module"
fi
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/uv.txt
# uv does not read pip's configuration: on a machine with a mirror of its own, this hands it on.
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    index=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX=$index
fi
[ -n "${SSL_CERT_FILE:-}" ] || [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE=$PIP_CERT
# Wheels of half a gigabyte may stall for a while on a busy registry.
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
# The lock was resolved with requirements/overrides.txt, so nothing is resolved again here.
"$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps --require-hashes -r "$lock"
"$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps -e . -e clients/python
echo "$state" >"$stamp"
