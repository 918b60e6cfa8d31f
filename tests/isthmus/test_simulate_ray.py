"""A sweep on a real Ray: the results are those of this process, and nothing of that Ray is left."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from simulations.running import run
from tests.isthmus.foreground import Foreground
from tests.simulations.tiny import group, tiny, tiny_file

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def asking(per_s: int) -> dict[str, Any]:
    """A scenario whose phones take 20 ms a request, and send more than they are given."""
    step = {"name": "all", "ms": {"phone": 20, "server": 20}, "out_kb": 1}
    pipeline = {"name": "detect", "input_kb": 40_000, "steps": [step]}
    return {
        "users": [group("cameras", 2, asking={"kind": "regular", "per_s": per_s}), group("phones", 1)],
        "pipelines": [pipeline],
    }


def test_ray_gives_what_this_process_gives_says_overload_first_and_is_gone_afterwards(tmp_path: Path) -> None:
    swept = ("--sweep", "users[0].asking.per_s=20,60", "--replications", "2", "--processes", "2", "--json")
    command = Foreground(tmp_path / "home", "simulate", tiny_file(tmp_path, **asking(10)), *swept)
    try:
        assert command.process.wait(120) == 0, command.complained.read_text()
        command.leaves_nothing()
    finally:
        command.kill_all()
    (complaint,) = command.complained.read_text().splitlines()
    said = "overloaded: users[0].asking.per_s=60: users cameras: their own device phone: ρ = 1.20, its queue grows"
    assert complaint.startswith(said)
    told = json.loads(command.said.read_text())["sweep"]
    for per_s, one in zip((20, 60), told, strict=True):
        alone = run(tiny(**asking(per_s)), replications=2)
        assert [each["figures"] for each in one["replications"]] == [dict(each.figures) for each in alone.outcomes]


def test_an_interrupted_sweep_leaves_nothing(tmp_path: Path) -> None:
    long = tiny_file(tmp_path, duration_s=3000)
    command = Foreground(tmp_path / "home", "simulate", long, "--sweep", "seed=1,2", "--processes", "2")
    try:
        command.until_runs("ray::")
        assert command.end(signal.SIGINT) == 1
        command.leaves_nothing()
    finally:
        command.kill_all()
    assert "interrupted; what this command started is stopped" in command.complained.read_text()
