"""TLS between a worker and who dials it: who is let in, and the one line that says why others are not."""

import asyncio
import http.client
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from nodes.errors import NodesError, NotAuthorised, StreamClosed
from nodes.stream import open_connection
from nodes.tls import VARIABLE, identity_in, own_identity, server_context
from nodes.tls_faults import fault_of_files, fault_of_peer
from nodes.worker_client import WorkerClient
from tests.nodes import workers
from tests.nodes.certified import certified, identity
from tests.nodes.test_worker import refused
from tests.nodes.wires import Inbox, request_frame
from tests.nodes.workers import Worker

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ours/edge, ours/camera and ours/old, which has expired; theirs/thief is of another CA."""
    folder = tmp_path_factory.mktemp("pki")
    certified(folder / "ours", "edge", "camera")
    certified(folder / "ours", "old", ago_days=5)
    certified(folder / "theirs", "thief")
    return folder


@pytest.fixture(scope="module")
def secured(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = workers.start(tmp_path_factory.mktemp("secured"), "--tls", str(pki / "ours/edge"), "--metrics-port", "0")
    yield worker
    worker.end()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = workers.start(tmp_path_factory.mktemp("plain"))
    yield worker
    worker.end()


async def placed_bytes(address: str) -> int:
    connection = await open_connection(address, **Inbox().settings())
    connection.post(request_frame("large", rows=20_000))
    await connection.close()
    return connection.shared_bytes


async def health(address: str) -> str:
    async with WorkerClient(address) as control:
        return str((await control.health())["node"])


async def dialled(address: str) -> str:
    connection = await open_connection(address, **Inbox().settings())
    await connection.close()
    return connection.peer_node


def why(address: str) -> str:
    """What both ways of dialling say, which is the same."""
    told = []
    for way in (health, dialled):
        with pytest.raises(StreamClosed) as closed:
            asyncio.run(way(address))
        told.append(str(closed.value).split(f"{address}: ", 1)[1])
    assert told[0] == told[1]
    assert "\n" not in told[0]
    return told[0]


def test_memory_is_shared_under_tls_too(secured: Worker, pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(pki / "ours/camera"))
    assert asyncio.run(placed_bytes(secured.address)) == 20_000 * 4 * 4


def test_a_holder_of_a_certificate_is_served(secured: Worker, pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(pki / "ours/camera"))
    assert asyncio.run(health(secured.address)) == "edge"
    assert asyncio.run(dialled(secured.address)) == "edge"


def test_each_bad_meeting_has_its_line(
    secured: Worker, plain: Worker, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "it speaks TLS only, and this side does not: set ISTHMUS_TLS=FOLDER" in why(secured.address)
    monkeypatch.setenv(VARIABLE, str(pki / "ours/camera"))
    assert why(plain.address) == "it answers without TLS: start it with --tls FOLDER, or unset ISTHMUS_TLS here"
    monkeypatch.setenv(VARIABLE, str(pki / "theirs/thief"))
    assert "its certificate is of another CA than ca.pem" in why(secured.address)
    monkeypatch.setenv(VARIABLE, str(pki / "ours/old"))
    assert f"{pki}/ours/old/cert.pem: has expired; make it with: isthmus certificates" in why(secured.address)


def test_a_worker_that_has_expired_since_it_started_is_named(
    tmp_path: Path, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = pki / "ours/old"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    own = identity(pki / "ours/camera")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        async def told() -> str | None:
            asking = asyncio.create_task(asyncio.to_thread(fault_of_peer, address, own.cert, own.key, own.ca))
            accepted, _ = await asyncio.to_thread(listening.accept)
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(context.wrap_socket, accepted, True)
            accepted.close()
            return await asking

        assert asyncio.run(told()) == "its certificate has expired; make it anew with: isthmus certificates"


def test_a_node_that_is_dialled_at_a_name_it_has_not_is_told_apart(secured: Worker, pki: Path) -> None:
    own = identity(pki / "ours/camera")
    elsewhere = f"127.0.0.2:{secured.announced['port']}"
    with socket.create_server(("127.0.0.2", 0)) as _:
        assert fault_of_peer(elsewhere, own.cert, own.key, own.ca) is None  # nobody listens there
    context = server_context(identity(pki / "ours/edge"))
    with socket.create_server(("127.0.0.2", 0)) as listening:

        async def told() -> str | None:
            address = f"127.0.0.2:{listening.getsockname()[1]}"
            asking = asyncio.create_task(asyncio.to_thread(fault_of_peer, address, own.cert, own.key, own.ca))
            accepted, _ = await asyncio.to_thread(listening.accept)
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(context.wrap_socket, accepted, True)
            accepted.close()
            return await asking

        assert "does not name 127.0.0.2, at which it is dialled" in str(asyncio.run(told()))


@pytest.mark.parametrize("shown", ["nobody", "ours/old", "theirs/thief"])
def test_nobody_is_let_in_without_a_good_certificate(secured: Worker, pki: Path, shown: str) -> None:
    """Whatever a client of its own making believes of the worker."""
    ca = (pki / "ours/ca.pem").read_bytes()
    pair = (None, None) if shown == "nobody" else tuple((pki / shown / f).read_bytes() for f in ("key.pem", "cert.pem"))
    with (
        grpc.secure_channel(secured.address, grpc.ssl_channel_credentials(ca, *pair)) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary("/isthmus.Worker/Health")(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_who_is_not_believed_hears_of_it(secured: Worker, pki: Path) -> None:
    ca = pki / "ours/ca.pem"
    for shown in ("ours/old", "theirs/thief"):
        told = fault_of_peer(secured.address, pki / shown / "cert.pem", pki / shown / "key.pem", ca)
        assert "it does not believe this side's certificate: both need one of the same CA" in str(told)
    own = identity(pki / "ours/camera")
    assert fault_of_peer(secured.address, own.cert, own.key, own.ca) is None


def test_metrics_are_told_to_holders_of_a_certificate_only(secured: Worker, pki: Path) -> None:
    context = ssl.create_default_context(cafile=pki / "ours/ca.pem")
    port = secured.announced["metrics_port"]
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    with closing(connection), pytest.raises(OSError, match=r"(?i)certificate.required|reset|EOF"):
        connection.request("GET", "/metrics")
        connection.getresponse()
    context.load_cert_chain(pki / "ours/camera/cert.pem", pki / "ours/camera/key.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    connection.request("GET", "/metrics")
    assert b"isthmus_" in connection.getresponse().read()
    connection.close()


def test_a_renewed_certificate_is_taken_up_by_who_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified(tmp_path / "pki", "edge", "camera")
    held = tmp_path / "pki/edge"
    worker = workers.start(tmp_path, "--tls", str(held), "--metrics-port", "0")
    try:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "pki/camera"))
        before = shown_at(worker, tmp_path / "pki")
        (held / "key.pem").write_text("half a key")  # as in the middle of being replaced
        assert shown_at(worker, tmp_path / "pki") == before
        certified(tmp_path / "pki", "edge", renew=True)
        after = shown_at(worker, tmp_path / "pki")
        assert set(after).isdisjoint(before)
        assert asyncio.run(health(worker.address)) == "edge"
    finally:
        worker.end()


def shown_at(worker: Worker, folder: Path) -> list[bytes | None]:
    """The certificates at both of a worker's ports."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "camera/cert.pem", folder / "camera/key.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    found = []
    for port in (worker.announced["port"], worker.announced["metrics_port"]):
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            found.append(secured.getpeercert(binary_form=True))
    return found


def test_a_worker_does_not_start_with_what_would_not_serve(tmp_path: Path, pki: Path) -> None:
    assert f"{pki}/ours/old/cert.pem: has expired" in refused(tmp_path, "--tls", str(pki / "ours/old"))
    assert "absent/cert.pem: No such file" in refused(tmp_path, "--tls", str(tmp_path / "absent"))
    mixed = tmp_path / "mixed"
    shutil.copytree(pki / "ours/edge", mixed)
    shutil.copy(pki / "ours/camera/key.pem", mixed)
    assert "is no pair with key.pem" in refused(tmp_path, "--tls", str(mixed))
    shutil.copy(pki / "ours/edge/key.pem", mixed)
    shutil.copy(pki / "theirs/ca.pem", mixed)
    assert "is of another CA than ca.pem" in refused(tmp_path, "--tls", str(mixed))
    (mixed / "cert.pem").write_text("nonsense")
    assert "no certificate" in refused(tmp_path, "--tls", str(mixed))


def test_an_identity_is_what_the_environment_names(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert own_identity() is None
    monkeypatch.setenv(VARIABLE, str(pki / "ours/edge"))
    assert own_identity() == identity_in(pki / "ours/edge")
    monkeypatch.setenv(VARIABLE, str(pki / "gone"))
    with pytest.raises(NotAuthorised, match=r"gone/ca.pem: No such file or directory; .* or unset ISTHMUS_TLS"):
        asyncio.run(health("127.0.0.1:1"))


def test_a_public_certificate_needs_no_ca_but_its_dates_hold(pki: Path) -> None:
    own = identity(pki / "ours/edge")
    assert fault_of_files(own.cert, own.key, None) is None
    old = identity(pki / "ours/old")
    assert fault_of_files(old.cert, old.key, None) == "has expired"


def test_nobody_there_is_told_as_ever(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(pki / "ours/camera"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(NodesError, match="Connection refused"):
        asyncio.run(health(address))
