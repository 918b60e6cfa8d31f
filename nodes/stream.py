"""Connections over gRPC: one bidirectional method of raw bytes, dialled by `open_connection`, served by a worker.

Here and in worker_client.py is all that knows gRPC's client side. A token travels in the metadata; the two ends
tell each other their node's name and protocol version before the first frame.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Callable
from typing import Any

import grpc

from nodes.connection import Connection, Ends, OnClosed, OnFrame
from nodes.emulation import LinkShaper
from nodes.errors import NodesError, NotAuthorised, StreamClosed, Unsecured
from nodes.framing import SPOKEN, VERSION
from nodes.same_host import MEMORY, Sharing
from nodes.tls import Identity, channel_credentials, own_identity, server_credentials
from nodes.tls_faults import fault_of_files, fault_of_peer

SERVICE = "isthmus.Worker"
STREAM_METHOD = f"/{SERVICE}/Stream"
TOKEN, NODE, ORIGIN, PROTOCOL = "isthmus-token", "isthmus-node", "isthmus-origin", "isthmus-version"
OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # frames are limited in parts.py, by name, rather than by a dead call
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS = (*OPTIONS, ("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 10_000))
CLIENT_OPTIONS = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
_UNMET, _UNSHAKEN = "failed to connect", ("handshake failed", "socket closed", "reset by peer")
_BROKEN = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)


class _Wire:
    """Bytes over a gRPC call or servicer context, both of which read and write."""

    def __init__(self, call: Any, peer: str) -> None:
        self._call = call
        self._peer = peer

    async def read(self) -> bytes | None:
        try:
            data = await self._call.read()
        except _BROKEN as error:
            raise StreamClosed(f"the stream to {self._peer} broke: {_detail(error)}") from None
        return None if data is grpc.aio.EOF else data

    async def write(self, data: bytes) -> None:
        try:
            await self._call.write(data)
        except _BROKEN as error:
            raise StreamClosed(f"the stream to {self._peer} broke: {_detail(error)}") from None


class DialledConnection(Connection):
    """A connection that this side opened and therefore can end."""

    channel: grpc.aio.Channel
    call: Any
    reader: asyncio.Task[None]

    async def close(self) -> None:
        """Send what was posted, then end the stream. `on_closed` has been called when this returns."""
        await self.drain()
        if not self.closed:
            await self.call.done_writing()
        self.call.cancel()
        await asyncio.gather(self.reader, return_exceptions=True)
        await self.channel.close()


async def open_connection(
    address: str,
    *,
    on_frame: OnFrame,
    on_closed: OnClosed,
    token: str | None = None,
    node: str = "",
    origin: str = "",
    shaper: LinkShaper | None = None,
    timeout_s: float = 5.0,
    **settings: Any,
) -> DialledConnection:
    """Dial a worker's data plane. StreamClosed if nobody answers in `timeout_s`, Unsecured if TLS does not come about,
    NotAuthorised for a wrong token.

    `node` is where the caller stands, `origin` its id if it is a router; `settings` go to Connection.
    """
    sharing = Sharing(address)
    channel = channel_to(address)
    call = channel.stream_stream(STREAM_METHOD)(metadata=_greeting(token, node, origin, sharing.offer))
    try:
        greeting = dict(await asyncio.wait_for(call.initial_metadata(), timeout_s))
        if PROTOCOL not in greeting:  # the call ended before the peer said anything
            await asyncio.wait_for(_raise_ended(call, address), timeout_s)
        version = check_version(str(greeting.get(PROTOCOL, "")), address)
        placing = sharing.taken(str(greeting.get(MEMORY, "")))
    except TimeoutError:
        call.cancel()
        await channel.close()
        raise StreamClosed(f"{address} did not answer within {timeout_s:g} s") from None
    except _BROKEN as error:
        await channel.close()
        raise await refusal(error, address) from None
    except BaseException:
        call.cancel()
        await channel.close()
        raise
    ends = Ends(node=node, peer_node=str(greeting.get(NODE, "")), origin=origin, version=version)
    settings |= {"on_frame": on_frame, "on_closed": on_closed, "shaper": shaper, "placing": placing}
    connection = DialledConnection(_Wire(call, ends.peer_node or address), ends, **settings)
    connection.channel, connection.call = channel, call
    connection.reader = asyncio.create_task(connection.run())
    return connection


async def _raise_ended(call: Any, address: str) -> None:
    code, details = await call.code(), await call.details()
    if code is grpc.StatusCode.UNAUTHENTICATED:
        raise NotAuthorised(f"{address}: {details}")
    if (why := await _tls_fault(address, code, str(details))) is not None:
        raise Unsecured(f"no stream to {address}: {why}")
    raise StreamClosed(f"no stream to {address}: {details or code}")


async def refusal(error: BaseException, address: str) -> NodesError:
    """An error of gRPC as one of ours."""
    if isinstance(error, grpc.aio.AioRpcError):
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return NotAuthorised(f"{address}: {error.details()}")
        if (why := await _tls_fault(address, error.code(), str(error.details()))) is not None:
            return Unsecured(f"no answer from {address}: {why}")
    return StreamClosed(f"no answer from {address}: {_detail(error)}")


def channel_to(address: str) -> grpc.aio.Channel:
    """A channel to a worker, under TLS where this process has an identity; NotAuthorised if its files can't be read."""
    identity = own_identity()
    if identity is None:
        return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
    return grpc.aio.secure_channel(address, channel_credentials(identity), options=CLIENT_OPTIONS)


async def _tls_fault(address: str, code: Any, details: str) -> str | None:
    """What is wrong with TLS between here and there, if that is why there was no answer; gRPC says it vaguely."""
    if code is not grpc.StatusCode.UNAVAILABLE or _UNMET not in details:
        return None  # it was there, and is lost: that is to be told at once
    if not any(part in details.lower() for part in _UNSHAKEN):
        return None  # nobody there, or out of reach
    return await asyncio.to_thread(_tls_fault_now, address, own_identity())


def _tls_fault_now(address: str, identity: Identity | None) -> str | None:
    if identity is None:
        return fault_of_peer(address, None, None, None)
    own = fault_of_files(identity.cert, identity.key, identity.ca)
    if own is not None:
        return f"{identity.cert}: {own}; make it with: isthmus certificates"
    return fault_of_peer(address, identity.cert, identity.key, identity.ca)


def check_version(theirs: str, peer: str) -> int:
    """The version that both sides speak: the lesser one. StreamClosed, with the way out, unless they are neighbours."""
    if theirs.isdigit() and abs(int(theirs) - VERSION) <= 1:
        return min(int(theirs), VERSION)
    told = f"{peer} speaks protocol version {theirs or 'unknown'}, this side {SPOKEN[0]} and {VERSION}"
    if not theirs.isdigit():
        raise StreamClosed(f"{told}; is it an isthmus worker?")
    who = "this side" if int(theirs) > VERSION else peer
    raise StreamClosed(f"{told}; upgrade {who} first, one version after the other")


def has_token(metadata: Any, token: str | None) -> bool:
    """Whether a call's metadata holds the token; always, if there is none."""
    if token is None:
        return True
    given = next((value for key, value in metadata or () if key == TOKEN), "")
    return hmac.compare_digest(str(given).encode(), token.encode())


def bind(server: grpc.aio.Server, listen: str, identity: Identity | None = None) -> int:
    """Have a server listen there, under TLS as `identity` if there is one; the port.

    NodesError for one in use, or an address that is not this machine's; NotAuthorised for an identity that would not
    serve.
    """
    credentials = None if identity is None else server_credentials(identity)
    port: int
    try:
        port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise NodesError(f"can't listen on {listen}: the port is in use or the address is not this machine's")
    return port


def check_listen(listen: str, token: str | None, *, option: str = "--listen", way_out: str = "--token-file") -> None:
    """NotAuthorised for an address that others can reach without a token; NodesError for no address at all."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise NodesError(f"{option} {listen!r} is not host:port, such as 127.0.0.1:0")
    if token is None and not is_loopback(host.strip("[]")):
        raise NotAuthorised(f"listening on {host} lets others in; give a token with {way_out}, or use 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve_stream(context: Any, node: str, *, on_open: Callable[[Connection], None], **settings: Any) -> None:
    """Answer one dialled stream until it ends; `on_open` hears of it first, `settings` go to Connection."""
    metadata = {key: value for key, value in context.invocation_metadata() or ()}
    theirs = str(metadata.get(PROTOCOL, ""))
    offered = str(metadata.get(MEMORY, ""))
    sharing = Sharing(context.peer() if offered else "")
    placing = sharing.taken(offered)  # before the greeting: with that the caller may begin to place
    await context.send_initial_metadata(_greeting(None, node, "", sharing.offer))
    version = check_version(theirs, "the peer")
    told = {"peer_node": str(metadata.get(NODE, "")), "origin": str(metadata.get(ORIGIN, ""))}
    ends = Ends(node=node, version=version, **told)
    connection = Connection(_Wire(context, ends.peer_node or context.peer()), ends, placing=placing, **settings)
    on_open(connection)
    await connection.run()


def _greeting(token: str | None, node: str, origin: str, memory: str) -> tuple[tuple[str, str], ...]:
    given = ((TOKEN, token or ""), (NODE, node), (ORIGIN, origin), (MEMORY, memory), (PROTOCOL, str(VERSION)))
    return tuple((key, value) for key, value in given if value)


def _detail(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return str(error.details() or error.code())
    return str(error) or type(error).__name__
