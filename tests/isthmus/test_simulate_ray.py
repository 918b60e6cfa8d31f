"""A sweep on a real Ray: the results are those of this process, and nothing of that Ray is left."""

import json
import signal
from pathlib import Path

import pytest

from simulations.running import run
from tests.isthmus.foreground import Foreground
from tests.simulations.tiny import group, tiny, tiny_file

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_ray_gives_what_this_process_gives_and_is_gone_afterwards(tmp_path: Path) -> None:
    swept = ("--sweep", "users[0].count=1,2", "--replications", "2", "--processes", "2", "--json")
    command = Foreground(tmp_path / "home", "simulate", tiny_file(tmp_path), *swept)
    try:
        assert command.process.wait(120) == 0, command.complained.read_text()
        command.leaves_nothing()
    finally:
        command.kill_all()
    assert command.complained.read_text() == ""
    told = json.loads(command.said.read_text())["sweep"]
    for count, one in zip((1, 2), told, strict=True):
        alone = run(tiny(users=[group("cameras", count), group("phones", 1)]), replications=2)
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
