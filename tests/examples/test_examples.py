"""Each example, run as README tells: by itself, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow


def run(example: str, state: Path) -> str:
    """What the example printed; fails with its last words. Its cluster is its own, whatever runs on the machine."""
    env = os.environ | {"XDG_STATE_HOME": str(state), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(ROOT / "examples" / example)]
    done = subprocess.run(command, cwd=state, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_classify_sees_what_is_in_the_photograph(tmp_path: Path) -> None:
    told = run("classify/run.py", tmp_path).splitlines()
    assert told[-1] == "it is: espresso"
    assert "camera" in told[-2]  # the reason names where the pixels stay


def test_plan_only_keeps_private_pixels_at_the_camera(tmp_path: Path) -> None:
    free, private = run("plan_only.py", tmp_path).split("private: ")[1:]
    assert free.startswith("nothing")
    assert private.splitlines()[1].startswith("  camera:")
