"""A model on another device over TVM RPC: it answers as here, and a device that fails is told in one line."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from nodes.backend import Session, load_backend
from nodes.backends.tvm import rpc
from nodes.backends.tvm.rpc import remote_session
from nodes.errors import BadInput, CompileError, EngineMissing, NodesError, RunError
from tests.contracts.backend_models import compiled_reference, zoo_model
from tests.contracts.test_backends import BOUNDS, coffee, difference
from tests.nodes.boards import HERE, board, lacking, serving
from tests.nodes.onnx_models import dense

try:
    load_backend("tvm")
except (EngineMissing, KeyError) as error:
    lacking(str(error))

FEEDS = {"x": np.arange(8, dtype=np.float32)[None]}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, compiled for this machine."""
    from nodes.backends.tvm.arm_export import export

    return export(dense().SerializeToString(), "host", tmp_path_factory.mktemp("tvm") / "dense").folder


@pytest.fixture
def address(built: Path, tmp_path: Path) -> Iterator[str]:
    with serving(HERE, built / "rpc_server", "--folder", str(tmp_path)) as (found, _):
        yield found


def one_line(caught: pytest.ExceptionInfo[NodesError]) -> bool:
    return "\n" not in str(caught.value) and "127.0.0.1" in str(caught.value)


def port_of(address: str) -> int:
    return int(address.split(":")[1])


def answers(session: Session) -> bool:
    made = session.run(FEEDS)
    return difference(made, compiled_reference(dense().SerializeToString()).run(FEEDS)) <= BOUNDS["float32"]


@pytest.mark.slow
def test_a_remote_model_answers_as_onnx_runtime_does(built: Path, address: str) -> None:
    session = remote_session(built, address)
    assert [spec.name for spec in session.inputs] == ["x"]
    assert answers(session)
    assert session.run(FEEDS)["y"].flags.writeable


@pytest.mark.slow
def test_a_cortex_a72_recognises_a_photograph_over_rpc(tmp_path: Path) -> None:
    from nodes.backends.tvm.cross import runtime
    from nodes.backends.tvm.targets import target

    path = zoo_model("efficientnet_lite0")
    with (
        runtime(target("cortex-a72")) as folder,
        serving(board("aarch64", "cortex-a72"), folder / "rpc_server") as (address, _),
    ):
        session = load_backend("tvm").compile(path, options={"target": "cortex-a72", "rpc": address})
        assert difference(session.run(coffee()), compiled_reference(path).run(coffee())) <= BOUNDS["float32"]
        session.close()


@pytest.mark.slow
def test_a_device_with_tvms_own_server_serves_one_client_after_another(built: Path) -> None:
    from tvm.rpc import Server

    server = Server("127.0.0.1", 19190, 19999)  # it takes the first free port
    try:
        for _ in range(2):
            session = remote_session(built, f"127.0.0.1:{server.port}")
            assert answers(session)
            session.close()
    finally:
        server.terminate()


@pytest.mark.slow
def test_a_model_is_uploaded_once(built: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm.rpc import RPCSession

    remote_session(built, address).close()
    monkeypatch.setattr(RPCSession, "upload", None)
    assert answers(remote_session(built, address))


@pytest.mark.slow
def test_devices_serve_several_clients_and_outlive_one_that_breaks_off(built: Path, address: str) -> None:
    host, port = address.split(":")
    first = remote_session(built, address)
    with closing(socket.create_connection((host, int(port)))) as rude:
        rude.sendall(b"GET / HTTP/1.0\r\n\r\n")
    second = remote_session(built, address)
    first.close()
    assert answers(second)


@pytest.mark.slow
def test_a_device_that_dies_is_a_run_error_and_stays_one(built: Path) -> None:
    with serving(HERE, built / "rpc_server") as (address, process):
        session = remote_session(built, address)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(2):
            with pytest.raises(RunError) as caught:
                session.run(FEEDS)
            assert one_line(caught)
        session.close()


@pytest.mark.slow
def test_a_device_that_loses_power_is_noticed_by_the_kernel(built: Path, address: str) -> None:
    port = port_of(address)
    before = rpc._connections(port)
    session = remote_session(built, address)
    (number,) = rpc._connections(port) - before
    with closing(socket.socket(fileno=os.dup(number))) as connection:
        patience = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        asked = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert (patience, asked) == (20_000, 1)
    session.close()


@pytest.mark.slow
def test_a_closed_session_ends_its_connection(built: Path, address: str) -> None:
    port = port_of(address)
    before = rpc._connections(port)
    session = remote_session(built, address)
    session.run(FEEDS)
    session.close()
    assert rpc._connections(port) == before


@pytest.mark.slow
def test_a_session_computes_with_as_many_threads_as_asked(built: Path, address: str) -> None:
    session = remote_session(built, address, threads=1)
    assert session._remote.get_function("runtime.NumThreads")() == 1
    assert answers(session)


@pytest.mark.slow
def test_tensors_that_do_not_fit_are_refused_before_they_travel(built: Path, address: str) -> None:
    session = remote_session(built, address)
    with pytest.raises(BadInput, match="missing 'x'"):
        session.run({})
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run(FEEDS)


@pytest.mark.slow
def test_a_device_with_a_key_takes_only_clients_that_show_it(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("sesame\n")
    with serving(HERE, built / "rpc_server", "--key-file", str(tmp_path / "key")) as (address, _):
        (tmp_path / "wrong").write_text("simsalabim\n")
        monkeypatch.setenv(rpc.KEY_FILE, str(tmp_path / "wrong"))
        with pytest.raises(CompileError, match="another key") as caught:
            remote_session(built, address)
        assert one_line(caught) and "simsalabim" not in str(caught.value)
        monkeypatch.setenv(rpc.KEY_FILE, str(tmp_path / "key"))
        assert answers(remote_session(built, address))


@pytest.mark.slow
def test_off_loopback_a_device_wants_a_key(built: Path) -> None:
    done = HERE.run(built / "rpc_server", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "a key is required" in done.stderr


@pytest.mark.slow
def test_a_library_for_another_machine_is_refused_in_one_line(built: Path, address: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_bytes((built / "model.json").read_bytes())
    (other / "lib.so").write_bytes(b"\x7fELF, but no further")
    before = rpc._connections(port_of(address))
    with pytest.raises(CompileError) as caught:
        remote_session(other, address)
    assert one_line(caught)
    assert rpc._connections(port_of(address)) == before


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder of which only the listing is ever read."""
    (tmp_path / "model.json").write_text('{"inputs": [], "outputs": []}')
    return tmp_path


@pytest.mark.parametrize("address", ["board", "board:", ":9090", "board:99999"])
def test_what_is_no_address_is_a_compile_error(address: str, listed: Path) -> None:
    with pytest.raises(CompileError, match="host:port"):
        remote_session(listed, address)


def test_nobody_at_an_address_is_a_compile_error(listed: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CompileError, match="no RPC server answers") as caught:
        remote_session(listed, f"127.0.0.1:{port}")
    assert one_line(caught)


def http(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def silence(client: socket.socket) -> None:
    client.recv(1 << 16)
    client.recv(1)  # until the other side has had enough


@pytest.mark.parametrize("manner,told", [(http, "no TVM RPC server"), (silence, "timed out")])
def test_something_else_at_an_address_is_a_compile_error(
    manner: Callable[[socket.socket], None], told: str, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "_PATIENCE_S", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            client, _ = server.accept()
            with closing(client):
                manner(client)

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(CompileError, match=told) as caught:
            remote_session(listed, f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert one_line(caught)


def test_a_key_file_that_is_absent_is_named(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rpc.KEY_FILE, f"{listed}{os.sep}absent")
    with pytest.raises(CompileError, match="absent: No such file"):
        remote_session(listed, "127.0.0.1:9")


def test_sockets_of_other_kinds_are_no_connections_to_a_device() -> None:
    here, there = socket.socketpair()
    with here, there, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as connection:
            assert rpc._connections(port) == {connection.fileno()}
