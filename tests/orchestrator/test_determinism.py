"""The same events at the same times give the same instructions, in every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def history_under(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.orchestrator.history"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_two_hash_seeds_give_the_same_instructions() -> None:
    first = history_under("1")
    assert first.count("OpenEpoch") > 20
    assert history_under("2") == first
