"""A session whose model runs on another device, over TVM's RPC: uploaded there once, then called.

It speaks to `rpc_server` of an exported folder, which keeps uploads for the next client, and to TVM's own server. It
starts no server, and it encrypts nothing: beyond a trusted network the connection belongs in a tunnel.
"""

import os
import socket
import stat
import struct
from collections.abc import Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from nodes.backend import Array, TensorSpec
from nodes.backends.tvm.build import LIBRARY, read_listing
from nodes.backends.tvm.vendor import NAME, one_line, tvm
from nodes.errors import CompileError, RunError
from nodes.feeds import check_feeds, engine_ready
from nodes.held import as_held

KEY_FILE = "ISTHMUS_TVM_KEY_FILE"  # the environment variable that names the file with the servers' key
_MAGIC = 0xFF271  # what a TVM client says first
_PATIENCE_S = 10.0
_SILENCE_S = 20  # after which a device that answers no keep-alive is taken for gone


def remote_session(folder: Path, address: str, *, threads: int = 0) -> "RemoteSession":
    """The session of what `build` put into `folder`, run by the RPC server at "host:port" with so many threads.

    0 threads: as many as the server was started with. CompileError where the server cannot be reached, wants another
    key or cannot load the library.
    """
    specs = read_listing(folder)
    host, port = _parse(address)
    key = _key()
    _probe(host, port)
    known = _connections(port)
    remote = None
    try:
        from tvm import relax, rpc

        remote = rpc.connect(host, port, key)
        _notice_silence(_connections(port) - known)
        machine = relax.VirtualMachine(remote.load_module(_upload(remote, folder / LIBRARY)), remote.cpu())
        if threads:
            remote.get_function("runtime.config_threadpool")(1, threads)
        return RemoteSession(remote, machine, specs, address)
    except Exception as error:
        _end(remote)
        raise _refusal(address, error) from None


class RemoteSession:
    """A model on a device. A device that goes away fails the run; a new session is needed then."""

    def __init__(
        self, remote: Any, machine: Any, specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]], address: str
    ) -> None:
        self.inputs, self.outputs = specs
        self._address = address
        self._remote = remote
        self._machine = machine
        self._given = [tvm().runtime.empty(spec.shape, spec.dtype, remote.cpu()) for spec in self.inputs]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError where the device fails or is gone."""
        check_feeds(self.inputs, feeds)
        if self._machine is None:
            raise RunError(f"{NAME}: the session is closed")
        try:
            for tensor, spec in zip(self._given, self.inputs, strict=True):
                tensor.copyfrom(engine_ready(feeds[spec.name]))
            self._machine.set_input("main", *self._given)
            self._machine.invoke_stateful("main")
            made = self._machine.get_outputs("main")
            values = list(made) if isinstance(made, tuple | list) else [made]
            return {spec.name: as_held(value.numpy()) for spec, value in zip(self.outputs, values, strict=True)}
        except Exception as error:
            raise RunError(f"{NAME} at {self._address}: {one_line(error)}") from None

    def operator_s(self) -> Mapping[str, float] | None:
        """Nothing: kernels are timed on this machine only, not on a device."""
        return None

    def close(self) -> None:
        """Free the model on the device and end the connection."""
        if self._machine is not None:
            self._given, self._machine = [], None  # first: freeing them needs the connection
            _end(self._remote)


def _end(remote: Any) -> None:
    """End a connection, which otherwise lives until Python looks for cycles."""
    if remote is not None:
        with suppress(Exception):  # it may be gone already
            remote.get_function("CloseRPCConnection")()


def _upload(remote: Any, library: Path) -> str:
    """The library's name on the device: its SHA-256, under which nothing lies there that isn't whole."""
    content = library.read_bytes()
    name = f"{sha256(content).hexdigest()}.so"
    try:
        holds, rename = (remote.get_function(f"isthmus.{verb}") for verb in ("holds", "rename"))
    except Exception:  # TVM's own server, which gives each client a folder of its own: nobody sees half a file there
        remote.upload(bytearray(content), name)
        return name
    if not holds(name):
        part = f"{name}.{uuid4().hex}"
        remote.upload(bytearray(content), part)
        rename(part, name)
    return name


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise CompileError(f'{NAME}: {address!r} is no address of an RPC server: it must be "host:port"')
    return host.strip("[]"), int(port)


def _key() -> str:
    path = os.environ.get(KEY_FILE)
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise CompileError(f"{NAME}: cannot read ${KEY_FILE}, {path}: {error.strerror}") from None


def _probe(host: str, port: int) -> None:
    """Whether an RPC server listens, under a time limit: TVM's own client waits for ever.

    It breaks the handshake off, which servers answer by hanging up; finished, it would end TVM's own server.
    """
    try:
        with closing(socket.create_connection((host, port), _PATIENCE_S)) as connection:
            connection.sendall(struct.pack("<i", _MAGIC - 1))
            answer = connection.recv(1)
    except ConnectionResetError:
        return  # hung up without having read all
    except OSError as error:
        raise CompileError(f"{NAME}: no RPC server answers at {host}:{port}: {error.strerror or error}") from None
    if answer:
        raise CompileError(f"{NAME}: what answers at {host}:{port} is no TVM RPC server")


def _refusal(address: str, error: Exception) -> CompileError:
    if "matches key" in str(error):  # and goes on with the key itself
        return CompileError(f"{NAME}: the RPC server at {address} wants another key; ${KEY_FILE} names its file")
    return CompileError(f"{NAME} at {address} refused the model: {one_line(error)}")


def _connections(port: int) -> set[int]:
    """File descriptors of this process's connections to a port."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, or not connected
            if _is_socket(number := int(entry.name)):
                with closing(socket.socket(fileno=os.dup(number))) as connection:
                    over_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
                    if over_tcp and connection.getpeername()[1] == port:
                        found.add(number)
    return found


def _is_socket(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _notice_silence(descriptors: set[int]) -> None:
    """A device that lost power says nothing: have the kernel ask it, since TVM's client would wait for ever."""
    for number in descriptors:
        with closing(socket.socket(fileno=os.dup(number))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE_S // 4)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENCE_S // 4)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_S * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
