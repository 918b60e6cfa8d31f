"""A worker's cells: for the controller that claimed it alone, ended with the call, refused where they make no sense."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes import artifact
from nodes.errors import ArtifactError, NodesError, NotAuthorised
from nodes.selecting.cells import Cell, Measured
from nodes.selecting.exchange import Request, Told, load_tensors, said_from, save_tensors, to_map
from nodes.selecting.on_worker import SAMPLES, measure_cell
from nodes.store import Store
from nodes.worker_client import WorkerClient
from tests.eventually import eventually, eventually_here, processes_naming, stat_of
from tests.nodes.workers import Worker, start, write_artifact

CELL = Cell(backend="onnxruntime")
ABSENT = "0" * 64


def given(request: Request, limit_s: float = 60.0) -> dict[str, Any]:
    return {"request": to_map(request), "limit_s": limit_s}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    begun = start(tmp_path_factory.mktemp("cells"))
    yield begun
    begun.end()


Work = Callable[[WorkerClient], Coroutine[Any, Any, Any]]


def claimed(worker: Worker, work: Work) -> Any:
    async def story() -> Any:
        async with WorkerClient(worker.address, controller="tests", secret="s" * 32) as client:
            await client.claim()
            return await work(client)

    return asyncio.run(story())


@pytest.fixture
def request_(tmp_path: Path, worker: Worker) -> Request:
    """A small artifact and its samples, held by the worker."""
    model = write_artifact(tmp_path, "model", reads="x", makes="y", op_type="Add", constant=1.0)
    (tmp_path / "samples").mkdir()
    save_tensors(tmp_path / "samples" / SAMPLES, [{"x": np.zeros((1, 4), np.float32)}])
    samples = artifact.write(tmp_path / "samples", steps=(), inputs=(), outputs=())

    async def put(client: WorkerClient) -> None:
        for name in ("model", "samples"):
            await client.put_artifact(tmp_path / name)

    claimed(worker, put)
    return Request(cell=CELL, folder=model, samples=samples, outputs="yes", seconds=0.05, batches={"2": model})


@pytest.mark.slow
def test_a_cell_is_measured_and_its_answers_come_back(worker: Worker, request_: Request, tmp_path: Path) -> None:
    answer = claimed(worker, lambda client: client.cell(given(request_), 90.0))
    found = said_from(answer["said"])
    assert isinstance(found, Measured) and found.speed is not None and found.footprint is not None
    assert found.footprint.distributions == ("onnxruntime",)
    (tmp_path / "answers.npz").write_bytes(answer["answers"])
    assert [one["y"].tolist() for one in load_tensors(tmp_path / "answers.npz")] == [[[1.0] * 4]]


@pytest.mark.slow
def test_only_the_claimant_may_have_cells_measured(worker: Worker) -> None:
    async def as_another(_: WorkerClient) -> None:
        async with WorkerClient(worker.address, controller="thief", secret="t" * 32) as client:
            await client.cell(given(Request(cell=CELL)), 10.0)

    with pytest.raises(NotAuthorised, match="only controller 'tests'"):
        claimed(worker, as_another)


def children(worker: Worker) -> list[int]:
    """The processes that the worker began and that are cells' by now."""
    cells = processes_naming("nodes.selecting.process")
    return [pid for pid in cells if (stat := stat_of(pid)) is not None and stat.parent == worker.process.pid]


@pytest.mark.slow
def test_a_cells_process_ends_with_the_call_that_asked_for_it(worker: Worker, request_: Request) -> None:
    async def hang_up(client: WorkerClient) -> None:
        call = asyncio.create_task(client.cell(given(request_, 600.0), 600.0))
        (pid,) = await eventually_here(lambda: children(worker), what="the cell's process")
        os.kill(pid, signal.SIGSTOP)  # so that it cannot end by itself
        call.cancel()

    claimed(worker, hang_up)
    eventually(lambda: not children(worker), what="its end")


@pytest.mark.slow
def test_a_cell_over_its_time_is_told_and_the_worker_goes_on(worker: Worker, request_: Request) -> None:
    late = claimed(worker, lambda client: client.cell(given(request_, 0.05), 30.0))
    assert said_from(late["said"]) == Measured(state="over time", reason="over its time limit of 0 s", limit_s=0.05)
    told = said_from(claimed(worker, lambda client: client.cell(given(Request(cell=CELL)), 60.0))["said"])
    assert isinstance(told, Told) and "float32" in told.precisions and told.cores > 0


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        (given(Request(cell=Cell(backend="os"))), NodesError, "no backend 'os'; this worker knows onnxruntime"),
        (given(Request(cell=CELL, folder=ABSENT)), ArtifactError, "send it first"),
        (given(Request(cell=CELL, folder="../../etc")), ArtifactError, "is not the id of an artifact"),
        (given(Request(cell=CELL), 1e9), NodesError, "a cell may take from 0 to 3600 s"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_process_begins(
    tmp_path: Path, asked: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        asyncio.run(measure_cell(asked, Store(tmp_path)))
