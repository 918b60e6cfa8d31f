"""Ctrl-C, SIGTERM and SIGKILL at any moment: no process and no shared memory outlives the command."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.isthmus.foreground import Foreground
from tests.isthmus.given import CAMERA, model_file, spec_file, topology_file

pytestmark = [pytest.mark.slow, pytest.mark.alone]
RAY, WORKER = "start --head", "nodes.worker"
Start = Callable[..., Foreground]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[Foreground] = []

    def run(*arguments: object) -> Foreground:
        begun.append(Foreground(tmp_path / "home", *arguments))
        return begun[-1]

    yield run
    for command in begun:
        command.kill_all()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path))


@pytest.mark.parametrize("verb", ["run", "deploy"])
@pytest.mark.parametrize("part", [RAY, WORKER], ids=["ray-starts", "workers-start"])
def test_ctrl_c_while_it_comes_up_leaves_nothing(start: Start, spec: Path, verb: str, part: str) -> None:
    command = start(verb, spec)
    command.until_runs(part)
    assert command.end(signal.SIGINT) == 1
    command.leaves_nothing()
    assert command.complained.read_text() == "isthmus: interrupted; what this command started is stopped\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_served_deployment_ends_with_its_command(start: Start, spec: Path, number: int) -> None:
    command = start("run", spec)
    command.until_says("classify serves")
    assert command.end(number) == 0
    command.leaves_nothing()
    assert command.complained.read_text() == ""


def test_what_a_killed_command_started_ends_by_itself(start: Start, spec: Path) -> None:
    command = start("run", spec)
    command.until_says("classify serves")
    assert command.end(signal.SIGKILL) == -signal.SIGKILL
    command.leaves_nothing(within_s=40.0)


def test_a_first_deployment_that_fails_leaves_no_cluster(start: Start, tmp_path: Path) -> None:
    small = topology_file(
        tmp_path,
        nodes=[CAMERA | {"memory_mb": 0.0001}],
        links=[],
    )
    command = start("deploy", spec_file(tmp_path, model_file(tmp_path), small))
    assert command.process.wait(120) == 1
    command.leaves_nothing()
    assert command.complained.read_text().startswith("isthmus: classify: no plan fits: memory: ")
    assert command.complained.read_text().count("\n") == 1


def test_ctrl_c_during_the_demo_leaves_nothing(start: Start) -> None:
    pytest.importorskip("skimage", reason="the demo's photographs")
    command = start("demo", "--json")
    command.until_runs(WORKER)
    assert command.end(signal.SIGINT) == 1
    command.leaves_nothing()
    assert command.complained.read_text().endswith("isthmus: interrupted; what this command started is stopped\n")
