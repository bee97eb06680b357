#!/bin/sh
# Makes the virtual environment from the lock file. Usage: make_venv.sh PYTHON VENV
set -eu
python=$1
venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "mediasrv needs Python 3.11 or newer; $python is $("$python" -V)." >&2
    exit 1
}
if ! [ -x "$venv/bin/python" ]; then
    echo "Making the virtual environment in $venv ..."
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        # Debian splits venv from Python; only root can put that right here.
        rm -rf "$venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "Installing python3-venv ..."
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
            "$python" -m venv "$venv"
        else
            echo "This Python has no venv: install the package python3-venv and run this again." >&2
            exit 1
        fi
    fi
fi
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip -q
echo "Installing the pinned packages (a few minutes the first time) ..."
# uv is pinned in the lock file like everything else; pip only brings it in.
uv_version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
"$venv/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version"
"$venv/bin/uv" pip sync --compile-bytecode --python "$venv/bin/python" requirements.lock
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
