"""A peer of the version before, over a real socket: each side reads what the other writes, whoever dials."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgpack
import pytest

from nodes.errors import StreamClosed
from nodes.framing import SPOKEN, VERSION, Carried, Frame, Header, HopTiming, Kind, encode
from nodes.stream import NODE, PROTOCOL, SERVICE, STREAM_METHOD, open_connection, serve_stream
from tests.nodes.wires import Inbox, request_frame, run

BEFORE = SPOKEN[0]
TRACED = (HopTiming("s0", 0.1, 0.2, 0.3, 0.4, "9.9+wire9"),)
Map = dict[str, Any]


class Served(grpc.GenericRpcHandler):  # type: ignore[misc]
    """One bidirectional method, whatever answers it."""

    def __init__(self, answer: Any) -> None:
        self.answer = grpc.stream_stream_rpc_method_handler(answer)

    def service(self, details: Any) -> Any:
        return self.answer if details.method == f"/{SERVICE}/Stream" else None


@asynccontextmanager
async def served(answer: Any) -> AsyncIterator[str]:
    """A listening gRPC server; its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Served(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def header_of(data: bytes) -> Map:
    """The header as a reader in another language, or of another version, finds it."""
    header: Map = msgpack.unpackb(data[4 : 4 + int.from_bytes(data[:4], "little")])
    return header


def framed(header: Map) -> bytes:
    packed: bytes = msgpack.packb(header)
    return len(packed).to_bytes(4, "little") + packed


def of_kind(kind: Kind, headers: list[Map]) -> list[Map]:
    return [header for header in headers if header["k"] == kind]


def test_a_peer_of_the_version_before_that_dials_is_answered_in_its_version() -> None:
    heard, opened = Inbox(), asyncio.Queue[Any]()

    async def ours(_: Any, context: Any) -> None:
        await serve_stream(context, "edge", on_open=opened.put_nowait, **heard.settings())

    async def scenario() -> None:
        async with served(ours) as address, grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(STREAM_METHOD)(metadata=((PROTOCOL, str(BEFORE)), (NODE, "camera")))
            assert dict(await call.initial_metadata())[PROTOCOL] == str(VERSION)
            await call.write(framed({"v": BEFORE, "k": 1, "r": "asked", "n": 1, "m": [["s0", 0, 0, 0, 0]]}))
            asked = (await heard.frames.get()).header
            assert (asked.request, asked.timings) == ("asked", (HopTiming("s0", 0, 0, 0, 0),))
            (await opened.get()).post(request_frame("answered", timings=TRACED))
            seen: list[Map] = []
            while not of_kind(Kind.TENSORS, seen):
                seen.append(header_of(await call.read()))
            assert {header["v"] for header in seen} == {BEFORE}
            assert of_kind(Kind.TENSORS, seen)[0]["m"] == [["s0", 0.1, 0.2, 0.3, 0.4]]
            call.cancel()

    run(scenario)


def test_a_peer_of_the_version_before_that_is_dialled_is_asked_in_its_version_large_messages_too() -> None:
    seen: list[Map] = []
    whole = asyncio.Event()

    async def theirs(_: Any, context: Any) -> None:
        await context.send_initial_metadata(((PROTOCOL, str(BEFORE)), (NODE, "cloud")))
        pieces = b""
        while (data := await context.read()) is not grpc.aio.EOF:
            seen.append(header_of(data))
            if seen[-1]["k"] == Kind.PART:
                pieces += data[4 + int.from_bytes(data[:4], "little") :]
                if seen[-1]["j"][1] == seen[-1]["j"][2] - 1:
                    seen.append(header_of(pieces))
                    whole.set()

    async def scenario() -> None:
        async with served(theirs) as address:
            connection = await open_connection(address, node="edge", part_bytes=4096, **Inbox().settings())
            assert connection.version == BEFORE
            connection.post(request_frame("small", timings=TRACED))
            connection.post(request_frame("large", rows=1000, timings=TRACED))
            await whole.wait()
            await connection.close()
        assert {header["v"] for header in seen} == {BEFORE}
        assert [len(header["m"][0]) for header in of_kind(Kind.TENSORS, seen)] == [5, 5]

    run(scenario)


def test_a_peer_two_versions_away_is_refused_by_name_with_the_way_out() -> None:
    async def theirs(_: Any, context: Any) -> None:
        await context.send_initial_metadata(((PROTOCOL, str(VERSION + 2)),))
        await context.read()

    async def scenario() -> None:
        async with served(theirs) as address:
            with pytest.raises(StreamClosed, match=rf"{address} speaks .* {VERSION + 2}.*upgrade this side first"):
                await open_connection(address, **Inbox().settings())

    run(scenario)


@pytest.mark.parametrize(("version", "fields"), [(BEFORE, 5), (VERSION, 6)])
def test_a_header_is_written_as_its_reader_knows_it_though_it_was_written_otherwise_before(
    version: int, fields: int
) -> None:
    plain = Frame(Header(stage="both"))
    for other in (*SPOKEN, version):
        assert header_of(encode(plain, Carried(version=other)))["v"] == other
    traced = header_of(encode(Frame(Header(timings=TRACED)), Carried(version=version)))
    assert (traced["v"], len(traced["m"][0])) == (version, fields)
