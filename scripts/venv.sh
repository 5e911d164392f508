# venv.sh PYTHON FOLDER: creates a virtual environment with a working pip, and replaces an earlier one.
set -eu
python=$1 folder=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is too old: cartesia-cli needs Python 3.11 or newer (make PYTHON=python3.12 ...)" >&2
    exit 1
}
create() { "$python" -m venv --clear "$folder" && "$folder/bin/python" -m pip --version >/dev/null; }

# Debian has venv in a separate package.
create || { sh scripts/system.sh python3-venv && create; } || {
    echo "error: '$python -m venv' doesn't work; on Debian: apt-get install python3-venv" >&2
    exit 1
}
