"""A worker takes orders from its controller only: what anybody else may ask of it, and what it is answered."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest

from nodes.control_service import ControlService
from nodes.errors import NotAuthorised
from nodes.host import Host, HostSettings
from nodes.stage_spec import StageSpec
from nodes.stream import SERVICE
from nodes.worker_client import WorkerClient
from tests.nodes import workers
from tests.nodes.workers import Worker, write_artifact

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
ANYBODYS = {"Health", "Logs", "Engines"}  # told to whoever has the token and, under TLS, a certificate
OWN_WAYS = {"Stream", "Claim"}  # tensors, and the claim itself


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    held = workers.start(tmp_path)
    yield held
    held.end()


def stage(artifact: str) -> StageSpec:
    return StageSpec(deployment="d", epoch=1, stage="s1", artifact=artifact, backend="onnxruntime", returns=("y",))


def test_nobody_loads_a_stage_who_did_not_claim_the_worker(worker: Worker, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, "first", reads="x", makes="y", op_type="Add", constant=1.0)

    async def story() -> None:
        async with (
            WorkerClient(worker.address, controller="own", secret="s") as own,
            WorkerClient(worker.address, controller="thief", secret="t") as thief,
            WorkerClient(worker.address, controller="own") as nameless,
        ):
            with pytest.raises(NotAuthorised, match="nobody has claimed this worker; claim it first"):
                await thief.load_stage(stage(artifact))
            with pytest.raises(NotAuthorised, match="a claim needs a secret"):
                await nameless.claim()
            await own.claim()
            for other in (thief, nameless):
                with pytest.raises(NotAuthorised):
                    await other.claim()
                for call in (other.put_artifact(tmp_path / "first"), other.load_stage(stage(artifact))):
                    with pytest.raises(NotAuthorised, match="only controller 'own' that claimed this worker"):
                        await call
            assert not await own.has_artifact(artifact)
            assert (await own.health())["stages"] == []

    asyncio.run(story())


def test_every_method_but_three_takes_the_claimants_secret(worker: Worker, tmp_path: Path) -> None:
    host = Host(HostSettings(node="n", state=tmp_path / "listed"))
    methods = set(ControlService(host)._handlers)
    assert methods - ANYBODYS - OWN_WAYS  # there are some

    async def story() -> dict[str, Any]:
        async with WorkerClient(worker.address, controller="own", secret="s") as own:
            await own.claim()
        told = {}
        async with grpc.aio.insecure_channel(worker.address) as channel:
            for name in sorted(methods - OWN_WAYS):
                if name == "Watch":
                    call = channel.unary_stream(f"/{SERVICE}/{name}")(b"", timeout=20)
                    answer = await call.read()
                    call.cancel()
                elif name == "PutArtifact":
                    answer = await channel.stream_unary(f"/{SERVICE}/{name}")(iter([msgpack.packb({})]), timeout=20)
                else:
                    answer = await channel.unary_unary(f"/{SERVICE}/{name}")(msgpack.packb({}), timeout=60)
                told[name] = msgpack.unpackb(answer).get("error", {}).get("kind")
        return told

    told = asyncio.run(story())
    assert {name for name, kind in told.items() if kind != "NotAuthorised"} == ANYBODYS
    assert worker.process.poll() is None


def test_an_artifact_cannot_leave_its_folder(worker: Worker, tmp_path: Path) -> None:
    """Not even the claimant writes elsewhere on a worker's disk."""
    write_artifact(tmp_path, "first", reads="x", makes="y", op_type="Add", constant=1.0)

    async def story() -> None:
        metadata = (("isthmus-secret", "s"),)
        async with WorkerClient(worker.address, controller="own", secret="s") as own:
            await own.claim()
        async with grpc.aio.insecure_channel(worker.address) as channel:
            pieces = [{"artifact": "a" * 64}, {"file": "../../escaped", "data": b"x"}]
            put = channel.stream_unary(f"/{SERVICE}/PutArtifact")
            answer = await put(iter(map(msgpack.packb, pieces)), metadata=metadata, timeout=20)
            assert msgpack.unpackb(answer)["error"]["kind"] == "ArtifactError"
            pieces = [{"artifact": "../../../escaped"}, {"file": "manifest.json", "data": b"x"}]
            answer = await put(iter(map(msgpack.packb, pieces)), metadata=metadata, timeout=20)
            assert "error" in msgpack.unpackb(answer)
        assert [path for path in tmp_path.rglob("*") if "escaped" in path.name] == []
        assert not (tmp_path.parent / "escaped").exists()

    asyncio.run(story())
