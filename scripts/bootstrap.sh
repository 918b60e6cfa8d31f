#!/bin/sh
# Finds a Python that isthmus runs on and lets it build the virtual environment.
# Usage: sh scripts/bootstrap.sh [VENV [use|develop]]; PYTHON=/path/to/python chooses one.
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
supported='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 15)))'

for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c "$supported" >/dev/null 2>&1; then
        exec "$candidate" -B "$root/scripts/bootstrap.py" "$root" "${1:-.venv}" "${2:-use}"
    fi
done
echo "isthmus needs Python 3.11 to 3.14, and ${PYTHON:-PATH} has none:" \
    "install one (Debian, Ubuntu: apt install python3) or name it: make PYTHON=/path/to/python3" >&2
exit 1
