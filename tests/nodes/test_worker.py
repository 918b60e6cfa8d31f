"""Workers as processes: claimed, loaded, asked, killed, orphaned; each prompt and with nothing left behind."""

import asyncio
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from nodes.codec import pack, unpack
from nodes.emulation import LinkShaper, ShapedLink
from nodes.errors import ArtifactError, CompileError, NodesError, NotAuthorised, StreamClosed
from nodes.framing import Frame, Header, Kind
from nodes.stage_spec import StageSpec, Successor
from nodes.stream import DialledConnection, open_connection
from nodes.worker_client import WorkerClient
from tests.nodes import workers
from tests.nodes.wires import Inbox
from tests.nodes.workers import Worker, command, write_artifact

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
X = np.ones((1, 4), np.float32)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Worker]:
    worker = workers.start(tmp_path, "--emulated", "--metrics-port", "0")
    yield worker
    worker.end()


@pytest.fixture
def mec(tmp_path: Path) -> Iterator[Worker]:
    worker = workers.start(tmp_path, "--emulated", node="mec")
    yield worker
    worker.end()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), workers.DEADLINE_S))


def client(worker: Worker, **given: str) -> WorkerClient:
    return WorkerClient(worker.address, **({"controller": "c", "secret": "s"} | given))  # type: ignore[arg-type]


async def load(worker: Worker, folder: Path, artifact: str, spec: StageSpec) -> None:
    async with client(worker) as control:
        await control.claim()
        await control.put_artifact(folder / artifact)
        await control.load_stage(spec)


async def two_stages(edge: Worker, mec: Worker, folder: Path) -> None:
    """Deployment d: s1 on edge adds 1, s2 on mec triples."""
    first = write_artifact(folder, "first", reads="x", makes="y", op_type="Add", constant=1.0)
    second = write_artifact(folder, "second", reads="y", makes="z", op_type="Mul", constant=3.0)
    base: dict[str, Any] = {"deployment": "d", "epoch": 1, "backend": "onnxruntime"}
    after = Successor(stage="s2", address=mec.address, node="mec")
    await load(edge, folder, "first", StageSpec(**base, stage="s1", artifact=first, sends=("y",), successor=after))
    await load(mec, folder, "second", StageSpec(**base, stage="s2", artifact=second, returns=("z",)))


async def dial(worker: Worker, inbox: Inbox, shaper: LinkShaper | None = None) -> DialledConnection:
    return await open_connection(worker.address, node="camera", origin="router", shaper=shaper, **inbox.settings())


def request(name: str, *, epoch: int = 1) -> Frame:
    return pack(Header(deployment="d", epoch=epoch, stage="s1", request=name, origin="router"), {"x": X}, {})


def test_a_request_crosses_two_workers_and_comes_straight_back(edge: Worker, mec: Worker, tmp_path: Path) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        inbox = Inbox()
        streams = [await dial(worker, inbox) for worker in (edge, mec)]
        for number in range(20):
            streams[0].post(request(f"r{number}"))
            answer = await inbox.frames.get()
            assert (answer.header.request, answer.header.stage) == (f"r{number}", "s2")
            assert np.array_equal(unpack(answer)["z"], 6 * X)
        for stream in streams:
            await stream.close()

    run(scenario)


def test_errors_of_a_later_stage_come_back_by_the_way_of_the_request(edge: Worker, mec: Worker, tmp_path: Path) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        async with client(mec) as control:
            assert await control.drop_stage("d", 1, "s2")
        inbox = Inbox()
        stream = await dial(edge, inbox)  # and none to mec
        stream.post(request("r1"))
        header = (await inbox.frames.get()).header
        assert header.fault is not None
        assert (header.kind, header.request, header.fault.kind) == (Kind.ERROR, "r1", "UnknownEpoch")
        await stream.close()

    run(scenario)


def test_an_unknown_epoch_is_named(edge: Worker, mec: Worker, tmp_path: Path) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        inbox = Inbox()
        stream = await dial(edge, inbox)
        stream.post(request("r1", epoch=7))
        fault = (await inbox.frames.get()).header.fault
        assert fault is not None
        assert "at epoch 7; it holds epochs [1]" in fault.message
        await stream.close()

    run(scenario)


def test_many_frames_of_unknown_epochs_are_each_answered_and_seldom_logged(edge: Worker) -> None:
    async def scenario() -> None:
        inbox, many = Inbox(), 200
        stream = await dial(edge, inbox)
        for number in range(many):
            stream.post(request(f"r{number}", epoch=number))
        for _ in range(many):
            fault = (await inbox.frames.get()).header.fault
            assert fault is not None and fault.kind == "UnknownEpoch"
        async with client(edge) as control:
            lines = [line["message"] for line in await control.logs()]
            while not (told := [line for line in lines if line.startswith(f"and {many - 1} more frames from ")]):
                await asyncio.sleep(0.1)
                lines = [line["message"] for line in await control.logs()]
        assert (sum("holds no stage" in line for line in lines), len(told)) == (1, 1)
        await stream.close()

    run(scenario)


def test_a_killed_worker_closes_its_streams_and_fails_what_was_sent_to_it(
    edge: Worker, mec: Worker, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        inbox, to_mec = Inbox(), Inbox()
        stream, other = await dial(edge, inbox), await dial(mec, to_mec)
        stream.post(request("r1"))
        await to_mec.frames.get()
        mec.process.send_signal(signal.SIGKILL)
        started_s = monotonic()
        while not to_mec.closed:
            await asyncio.sleep(0.005)
        stream.post(request("r2"))
        lost = {(await inbox.frames.get()).header.request}
        while "r2" not in lost:
            lost.add((await inbox.frames.get()).header.request)
        assert monotonic() - started_s < 5
        await stream.close()
        await other.close()

    run(scenario)


def test_a_new_controller_with_the_secret_finds_the_stages_and_others_are_refused(
    edge: Worker, mec: Worker, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        async with client(edge, controller="c2") as second, client(edge, secret="wrong") as thief:
            claimed = await second.claim()
            assert [(stage.stage, stage.epoch) for stage in claimed.stages] == [("s1", 1)]
            for call in (thief.claim(), thief.has_artifact("0" * 64), thief.shutdown()):
                with pytest.raises(NotAuthorised, match="controller 'c"):
                    await call

    run(scenario)


def test_what_is_refused_comes_back_as_the_class_it_was(edge: Worker, tmp_path: Path) -> None:
    sha = write_artifact(tmp_path, "a", reads="x", makes="y", op_type="NoSuchOperator", constant=1.0)
    spec = StageSpec(deployment="d", epoch=1, stage="s", artifact=sha, backend="onnxruntime", returns=("y",))

    async def scenario() -> None:
        async with client(edge) as control:
            with pytest.raises(NotAuthorised, match="nobody has claimed"):
                await control.has_artifact(sha)
            await control.claim()
            with pytest.raises(ArtifactError, match="send it first"):
                await control.load_stage(spec)
            await control.put_artifact(tmp_path / "a")
            with pytest.raises(NodesError, match="NoSuchOperator"):
                await control.load_stage(spec)
            assert (await control.health())["stages"] == []

    run(scenario)


def test_an_altered_artifact_is_refused(edge: Worker, tmp_path: Path) -> None:
    sha = write_artifact(tmp_path, "a", reads="x", makes="y", op_type="Add", constant=1.0)
    (tmp_path / "a" / "model-0.onnx").write_bytes(b"x" * (tmp_path / "a" / "model-0.onnx").stat().st_size)

    async def scenario() -> None:
        async with client(edge) as control:
            await control.claim()
            with pytest.raises(ArtifactError, match="SHA-256"):
                await control.put_artifact(tmp_path / "a")
            assert not await control.has_artifact(sha)

    run(scenario)


def test_artifacts_are_measured_where_they_lie(edge: Worker, tmp_path: Path) -> None:
    sha = write_artifact(tmp_path, "a", reads="x", makes="y", op_type="Add", constant=1.0)

    async def scenario() -> None:
        async with client(edge) as control:
            await control.claim()
            await control.put_artifact(tmp_path / "a")
            measured = await control.measure(sha, backend="onnxruntime", runs=5)
            assert len(measured.samples_s) == 5
            assert 0 < measured.median_s < 1

    run(scenario)


def test_an_engines_options_reach_it_whether_measured_or_loaded(edge: Worker, tmp_path: Path) -> None:
    sha = write_artifact(tmp_path, "a", reads="x", makes="y", op_type="Add", constant=1.0)
    unknown = {"nosuch": 1}
    base: dict[str, Any] = {"deployment": "d", "epoch": 1, "backend": "onnxruntime", "artifact": sha}

    async def scenario() -> None:
        async with client(edge) as control:
            await control.claim()
            await control.put_artifact(tmp_path / "a")
            with pytest.raises(CompileError, match="has no option 'nosuch'"):
                await control.measure(sha, backend="onnxruntime", options=unknown)
            with pytest.raises(CompileError, match="has no option 'nosuch'"):
                await control.load_stage(StageSpec(**base, stage="s", returns=("y",), options=unknown))

    run(scenario)


def test_shaped_links_delay_what_crosses_them_and_are_observed(edge: Worker, mec: Worker, tmp_path: Path) -> None:
    links = [
        ShapedLink(source=source, target=target, bytes_per_s=1e6, propagation_s=0.02)
        for source, target in (("camera", "edge"), ("edge", "mec"), ("mec", "camera"), ("mec", "edge"))
    ]

    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        shaper, inbox = LinkShaper(), Inbox()
        shaper.shape(links, {})
        async with client(edge) as control, client(mec) as other:
            await control.shape(links)
            await other.shape(links)
            events = control.watch()
            assert (await anext(events))["event"] == "watching"
            streams = [await dial(worker, inbox, shaper) for worker in (edge, mec)]
            started_s = monotonic()
            streams[0].post(request("r1"))
            await inbox.frames.get()
            assert monotonic() - started_s >= 0.06
            while (event := await anext(events)).get("target") != "mec":
                continue
            assert event["rtt_s"] >= 0.04
            await events.aclose()
            for stream in streams:
                await stream.close()
        shaper.close()

    run(scenario)


def test_metrics_are_served(edge: Worker, mec: Worker, tmp_path: Path) -> None:
    async def scenario() -> None:
        await two_stages(edge, mec, tmp_path)
        inbox = Inbox()
        streams = [await dial(worker, inbox) for worker in (edge, mec)]
        streams[0].post(request("r1"))
        await inbox.frames.get()
        for stream in streams:
            await stream.close()

    run(scenario)
    edge.process.send_signal(signal.SIGCONT)
    url = f"http://127.0.0.1:{edge.announced['metrics_port']}/metrics"
    of = '{deployment="d",epoch="1",stage="s1"}'
    link = '{source="edge",target="mec"}'
    wanted = [
        f"isthmus_requests_total{of} 1.0",
        f"isthmus_received_bytes_total{of} 16.0",
        f"isthmus_sent_bytes_total{of} 16.0",
        f"isthmus_batch_requests_sum{of} 1.0",
        f"isthmus_link_transfer_seconds_count{link} 1.0",
    ]
    until_s = monotonic() + 5
    while set(wanted) - set(page := urllib.request.urlopen(url).read().decode().splitlines()):
        assert monotonic() < until_s, page

    async def dropped() -> None:
        async with client(edge) as control:
            assert await control.drop_stage("d", 1, "s1")

    run(dropped)
    assert 'epoch="1"' not in urllib.request.urlopen(url).read().decode()


def test_a_missing_or_wrong_token_is_refused_on_every_method(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right\n")
    worker = workers.start(tmp_path, "--token-file", str(tmp_path / "token"))

    async def scenario() -> None:
        for token in (None, "wrong"):
            with pytest.raises(NotAuthorised, match="token"):
                await open_connection(worker.address, token=token, **Inbox().settings())
            async with WorkerClient(worker.address, token=token, secret="s") as control:
                for call in (control.health(), control.claim(), anext(control.watch())):
                    with pytest.raises(NotAuthorised, match="token"):
                        await call
        async with WorkerClient(worker.address, token="right", secret="s") as control:
            await control.claim()

    try:
        run(scenario)
    finally:
        worker.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(edge: Worker, tmp_path: Path, number: signal.Signals) -> None:
    edge.process.send_signal(number)
    assert edge.process.wait(5) == 0
    assert not (tmp_path / "edge.json").exists()


def test_its_controller_can_shut_it_down(edge: Worker) -> None:
    async def scenario() -> None:
        async with client(edge) as control:
            await control.claim()
            await control.shutdown()
            edge.process.wait(5)
            with pytest.raises(StreamClosed, match=edge.address):
                await control.health()

    run(scenario)
    assert edge.process.returncode == 0


def test_an_orphan_ends_by_itself(tmp_path: Path) -> None:
    worker = workers.start(tmp_path, "--orphan-s", "0.3")
    assert worker.process.wait(5) == 0
    assert "no controller and no traffic for 0.3 s" in worker.end()


@pytest.mark.slow
def test_a_watched_worker_is_no_orphan(tmp_path: Path) -> None:
    worker = workers.start(tmp_path, "--orphan-s", "1.5")  # long enough to be claimed on a busy machine

    async def scenario() -> None:
        async with client(worker) as control:
            await control.claim()
            events = control.watch()
            await anext(events)
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(worker.process.wait, 2.5)
            await events.aclose()

    run(scenario)
    assert worker.process.wait(5) == 0
    worker.end()


def refused(folder: Path, *arguments: str) -> str:
    done = subprocess.run(command(folder, *arguments), cwd=workers.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"can't listen on 127.0.0.1:{port}" in refused(tmp_path, "--listen", f"127.0.0.1:{port}")
        assert f"metrics can't listen on 127.0.0.1:{port}" in refused(tmp_path, "--metrics-port", port)


def test_off_loopback_without_a_token_is_one_clear_line(tmp_path: Path) -> None:
    assert "--token-file" in refused(tmp_path, "--listen", "0.0.0.0:0")


def test_an_empty_or_absent_token_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "is empty" in refused(tmp_path, "--token-file", str(tmp_path / "empty"))
    assert "No such file" in refused(tmp_path, "--token-file", str(tmp_path / "absent"))
