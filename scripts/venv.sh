# venv.sh PYTHON FOLDER: a virtual environment with a pip that works, whatever was there before.
set -eu
python=$1 folder=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is too old: cartesia-cli needs Python 3.11 or newer (make PYTHON=python3.12 ...)" >&2
    exit 1
}
make_it() { "$python" -m venv --clear "$folder" && "$folder/bin/python" -m pip --version >/dev/null; }

# Debian splits venv off from Python.
make_it || { sh scripts/system.sh python3-venv && make_it; } || {
    echo "error: '$python -m venv' doesn't work; on Debian: apt-get install python3-venv" >&2
    exit 1
}
