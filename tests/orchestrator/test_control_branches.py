"""The claims about the control core leave no branch of it out, without luck: those drawn by Hypothesis don't count."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DRAWN = HERE / "test_control_any_order.py"
NEIGHBOURS = [HERE / f"test_{name}.py" for name in ("control", "rollouts", "journal", "replay")]
CLAIMS = (*NEIGHBOURS, *sorted({*HERE.glob("test_control_*.py")} - {DRAWN}))


@pytest.mark.slow
def test_every_branch_of_the_control_core_is_taken(tmp_path: Path) -> None:
    counted = f"--data-file={tmp_path / 'counted'}"
    run = ["run", counted, "--branch", "--source=orchestrator", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    told = ["report", counted, "--include=orchestrator/control.py", "-m", "--precision=2", "--fail-under=100"]
    for command in ([*run, "-m", "not slow", *map(str, CLAIMS)], told):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *command],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
