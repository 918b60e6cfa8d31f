"""Several lengths behind a gateway's doors: who shares a run, what clients are told, and what is too long."""

import asyncio
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nodes.backend import Array, Session, load_backend
from orchestrator.batching import Batching
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.models import Given, Question, Reply, feeds_of
from orchestrator.gateway.permits import Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.gateway.window import Window
from orchestrator.router import Router
from tests.orchestrator.gateway.served import Served
from tests.orchestrator.gateway.test_foreign import HERE, TRITON, UV, environment, run
from tests.orchestrator.gateway.test_rest import ask
from tests.orchestrator.ragged_site import blueprint_of, text
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow


class Site:
    """The model of words behind doors, in the workers' own loop."""

    def __init__(self, workers: WorkerSite) -> None:
        self.workers = workers
        blueprint = blueprint_of(workers.folder)
        self.plain: Session = load_backend("onnxruntime").compile(blueprint.spec.model)
        workers.do(self._open(blueprint))

    async def _open(self, blueprint: Any) -> None:
        self.router = Router(on_drained=lambda _name, _epoch: None)
        rules = Batching(most=8, max_delay_s=0.1)
        await self.router.switch(await self.workers.load("words", 1, blueprint=blueprint, batching=rules))
        self.serving = Serving(RouterSource(self.router))
        listen = Listen(grpc="127.0.0.1:0", http="127.0.0.1:0", permits=Permits())
        self.doors = Doors(self.serving, Repository(self.serving), listen)
        await self.doors.open()
        self.grpc, self.http = f"127.0.0.1:{self.doors.grpc}", f"127.0.0.1:{self.doors.http}"

    async def close(self) -> None:
        await self.doors.close()
        await self.router.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    workers = WorkerSite(tmp_path_factory.mktemp("ragged"))
    opened = Site(workers)
    yield opened
    workers.do(opened.close())
    opened.plain.close()
    workers.close()


def question(feeds: Mapping[str, Array]) -> Question:
    return Question(
        inputs=tuple(
            Given(name=name, datatype="INT64", shape=array.shape, read=lambda array=array: array)
            for name, array in feeds.items()
        )
    )


def rest(site: Site, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    status, told, _ = ask(cast(Served, SimpleNamespace(http=site.http)), method, path, body)
    return status, told


def test_requests_of_a_length_share_runs_and_those_of_another_never_do(opened: Site) -> None:
    texts = [text((3, 20)[place % 2], place) for place in range(12)]

    serving = Serving(RouterSource(opened.router))  # which has counted nothing yet

    async def story() -> list[Reply]:
        asked = [question(feeds) for feeds in texts]
        return await asyncio.gather(
            *(serving.infer("words", "", lambda one=one: one, lambda reply: reply) for one in asked)
        )

    replies = opened.workers.do(story())
    ((_, _, counted),) = serving.counted("words")
    assert (counted.executions, counted.inferences, list(counted.batches)) == (2, 12, [6])
    for place, (feeds, reply) in enumerate(zip(texts, replies, strict=True)):
        made = {output.name: output.array for output in reply.outputs}
        assert made["each"].shape == (1, (4, 32)[place % 2], 8)
        np.testing.assert_allclose(made["mean"], opened.plain.run(feeds)["mean"], rtol=1e-4, atol=1e-5)


def test_rest_tells_free_axes_answers_and_refuses_what_is_too_long(opened: Site) -> None:
    _, told = rest(opened, "GET", "/v2/models/words")
    assert [one["shape"] for one in (*told["inputs"], *told["outputs"])] == [[-1, -1], [-1, -1], [-1, -1, 8], [-1, 8]]
    for length, filled in ((2, 4), (9, 32)):
        tensors = [
            {"name": n, "datatype": "INT64", "shape": [1, length], "data": [1] * length} for n in ("ids", "mask")
        ]
        status, answer = rest(opened, "POST", "/v2/models/words/infer", {"inputs": tensors})
        assert (status, answer["outputs"][0]["shape"]) == (200, [1, filled, 8])
    tensors = [{"name": n, "datatype": "INT64", "shape": [1, 33], "data": [1] * 33} for n in ("ids", "mask")]
    status, refused = rest(opened, "POST", "/v2/models/words/infer", {"inputs": tensors})
    assert status == 400
    assert "input 'ids' is 33 long along axis 1, its lengths are 4, 8, 32" in refused["error"]


def test_what_is_too_long_never_enters_the_queue(opened: Site) -> None:
    model = RouterSource(opened.router).model("words")
    assert model is not None
    with pytest.raises(Refused, match="input 'mask' is 33 long along axis 1, its lengths are 4, 8, 32") as refused:
        feeds_of(model, question({"ids": text(3)["ids"], "mask": text(33)["mask"]}))
    assert refused.value.fault is Fault.INVALID


def test_how_long_a_run_takes_is_learnt_for_each_length(opened: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[int] = []
    monkeypatch.setattr(Window, "answered", lambda *_args, place=0, **_options: noted.append(place))
    serving = Serving(RouterSource(opened.router))
    for length in (2, 5, 32):
        asked = question(text(length))
        opened.workers.do(serving.infer("words", "", lambda asked=asked: asked, lambda reply: reply))
    assert noted == [0, 1, 2]


@pytest.mark.skipif(UV is None, reason="uv is not installed (make setup brings it)")
def test_tritonclient_is_answered_at_each_length(opened: Site) -> None:
    run(environment(TRITON) / "bin/python", HERE / "foreign_lengths.py", opened.grpc, opened.http)
