"""Tests that start a Ray of their own run in a process of their own: a process joins one cluster at a time.

What their controllers wrote is replayed there, too.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("alone_*.py")))
def test_all_of_these_pass_in_a_process_of_their_own(file: str) -> None:
    plugins = ["-p", "no:cacheprovider", "-p", "tests.orchestrator.replaying"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, str(HERE / file)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
