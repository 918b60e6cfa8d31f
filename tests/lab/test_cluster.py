"""A real model over three hosts with Ray on each: answers, a slow link, dead workers, a cut cable, a board, tokens.

The tests go from top to bottom over one cluster, and requests flow all the while.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.hosts import DATA_PORT, TOKEN, Lab
from tests.lab.told import Told

pytestmark = [pytest.mark.lab, pytest.mark.slow]
KILLED = ("mec", "camera", "cloud", "mec", "camera")  # entry, middle and exit of the pipeline, each while it answers
JOIN = "from orchestrator import ray_shell; ray_shell.connect('{address}')"
REFUSED = """
import asyncio
from nodes.errors import NotAuthorised
from nodes.worker_client import WorkerClient
async def main():
    try:
        await WorkerClient('{address}', token='wrong', secret='s').claim()
    except NotAuthorised as refused:
        print(refused)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def flowing(camera: Told, spec: str) -> Told:
    """`classify` is deployed and asked without a pause."""
    camera.ask("deploy", spec)
    camera.ask("flow", "classify", spec)
    return camera


def answered(told: Told, more: int) -> dict[str, Any]:
    """The counts after so many more answers; nothing may have been lost."""
    before = told.ask("counts")["answered"]
    told.until(lambda: told.ask("counts")["answered"] >= before + more, f"{more} more answers", within_s=60)
    counts: dict[str, Any] = told.ask("counts")
    assert counts["lost"] == []
    return counts


def test_answers_over_three_hosts_are_the_whole_models(flowing: Told) -> None:
    assert flowing.nodes_of("classify") == ["camera", "mec", "cloud"]
    assert answered(flowing, 50)["difference"] < 1e-4


def test_a_slowed_link_moves_the_cut(flowing: Told, lab: Lab) -> None:
    before = operators_at(flowing, "camera")
    lab.slow("camera", "mec", 4)
    flowing.until(lambda: operators_at(flowing, "camera") > before, "more of the model before the slow link")
    assert answered(flowing, 5)["difference"] < 1e-4
    most = operators_at(flowing, "camera")
    lab.slow("camera", "mec", 100)
    flowing.until(lambda: operators_at(flowing, "camera") < most, "less of the model before the link, now fast again")


def operators_at(told: Told, node: str) -> int:
    plan = told.ask("status")["deployments"]["classify"]["plan"]
    return sum(len(stage["operators"]) for stage in plan["stages"] if stage["node"] == node) if plan else 0


@pytest.mark.parametrize("node", KILLED)
def test_a_killed_worker_loses_no_request_and_is_replaced(flowing: Told, node: str) -> None:
    pid = flowing.until(lambda: flowing.worker(node), f"a worker on {node}")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    flowing.until(lambda: flowing.worker(node) not in (None, pid), f"another worker on {node}")
    answered(flowing, 20)


def test_a_cut_cable_loses_no_request_and_the_host_returns(flowing: Told, lab: Lab) -> None:
    flowing.until(lambda: "mec" in flowing.nodes_of("classify"), "mec in use")
    lab.cut("mec")
    try:
        flowing.until(lambda: "mec" not in flowing.nodes_of("classify"), "a plan without mec")
        answered(flowing, 20)
    finally:
        lab.mend("mec")
    flowing.until(lambda: "mec" in flowing.nodes_of("classify"), "mec in use again")
    answered(flowing, 20)


def test_a_thousand_requests_and_all_of_that_lost_none(flowing: Told) -> None:
    flowing.until(lambda: flowing.ask("counts")["answered"] >= 1000, "1,000 answers", within_s=90)
    counts = flowing.ask("stop")
    assert counts["lost"] == []
    assert counts["difference"] < 1e-4
    flowing.ask("delete", "classify")
    assert "classify" not in flowing.ask("status")["deployments"]


@pytest.fixture
def board(lab: Lab) -> Iterator[str]:
    """A worker started by hand where no Ray is; its address."""
    home, address = lab.hosts["board"].home, f"{lab.hosts['board'].address}:{DATA_PORT}"
    (home / "token").write_text(TOKEN)
    options = ["--node=board", f"--listen={address}", f"--state={home}/state", f"--token-file={home}/token"]
    process = lab.start("board", "isthmus", "worker", *options)
    assert process.stdout is not None
    assert address in process.stdout.readline()
    yield address
    process.kill()
    process.communicate()


def test_a_worker_without_ray_is_claimed_at_its_address(camera: Told, board: str, board_spec: str) -> None:
    assert camera.ask("deploy", board_spec)["stages"] == ["camera", "board", "cloud"]
    assert camera.ask("status")["workers"]["board"]["address"] == board
    camera.ask("flow", "onboard", board_spec)
    answered(camera, 20)
    assert camera.ask("stop")["difference"] < 1e-4
    camera.ask("delete", "onboard")


def test_a_wrong_token_is_refused(lab: Lab, board: str) -> None:
    assert "wrong or missing token" in lab.run("cloud", "python", "-c", REFUSED.format(address=board))


def test_another_ray_is_refused_with_both_versions_named(lab: Lab, address: str) -> None:
    pretend = "import ray; ray.__version__ = '2.49.0'\n"
    tried = f"{pretend}try:\n    {JOIN.format(address=address)}\nexcept Exception as error:\n    print(repr(error))"
    said = lab.run("camera", "python", "-c", tried, environ={"RAY_AUTH_MODE": "token"})
    assert "VersionMismatch" in said
    assert "2.49.0" in said
