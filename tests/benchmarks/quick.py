"""A benchmark's quick run, as its tests and readers start it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def figures(name: str, *more: str) -> dict[str, Any]:
    """What benchmarks/`name`.py prints with --quick --json and `more`, by figure."""
    command = [sys.executable, f"benchmarks/{name}.py", "--quick", "--json", *more]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    return {figure["name"]: figure for figure in json.loads(ran.stdout)["figures"]}
