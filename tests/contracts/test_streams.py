"""What every stream of frames does, in memory and over gRPC: order, parts, acknowledgement, credit, refusal, end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest

from nodes import connection
from nodes.codec import pack, unpack
from nodes.connection import Connection
from nodes.errors import StreamClosed
from nodes.framing import Frame, Header, Kind
from nodes.shared_memory import VARIABLE
from nodes.stream import SERVER_OPTIONS, SERVICE, open_connection, serve_stream
from tests.nodes.wires import Inbox, pair, request_frame, run


@dataclass
class Ends:
    """Two connected ends and what reached each."""

    a: Connection
    b: Connection
    at_a: Inbox
    at_b: Inbox


@asynccontextmanager
async def in_memory(**settings: Any) -> AsyncIterator[Ends]:
    made = pair(**settings)
    yield Ends(made.a, made.b, made.at_a, made.at_b)
    await made.close()


@asynccontextmanager
async def over_grpc(**settings: Any) -> AsyncIterator[Ends]:
    at_a, at_b = Inbox(), Inbox()
    opened: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def stream(_: Any, context: Any) -> None:
        await serve_stream(context, "b", on_open=opened.set_result, **at_b.settings(), **settings)

    server = grpc.aio.server(options=SERVER_OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    a = await open_connection(f"127.0.0.1:{port}", node="a", **at_a.settings(), **settings)
    try:
        yield Ends(a, await opened, at_a, at_b)
    finally:
        await a.close()
        await server.stop(0)


both = pytest.mark.parametrize("opened", [in_memory, over_grpc])
Opened = Callable[..., Any]


async def until(condition: Callable[[], bool]) -> None:
    """Give way until the condition holds; the scenario's own deadline ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.001)


def with_ends(opened: Opened, scenario: Callable[[Ends], Awaitable[None]], **settings: Any) -> None:
    async def whole() -> None:
        async with opened(**settings) as ends:
            await scenario(ends)

    run(whole)


@both
def test_frames_arrive_whole_and_in_order(opened: Opened) -> None:
    async def scenario(ends: Ends) -> None:
        for number in range(50):
            await ends.a.send(request_frame(f"r{number}", rows=number + 1))
        arrived = [await ends.at_b.frames.get() for _ in range(50)]
        assert [frame.header.request for frame in arrived] == [f"r{number}" for number in range(50)]
        assert [len(unpack(frame)["x"]) for frame in arrived] == list(range(1, 51))

    with_ends(opened, scenario)


@both
def test_both_directions_work_at_once(opened: Opened) -> None:
    async def scenario(ends: Ends) -> None:
        ends.a.post(request_frame("there"))
        ends.b.post(request_frame("back"))
        assert (await ends.at_b.frames.get()).header.request == "there"
        assert (await ends.at_a.frames.get()).header.request == "back"

    with_ends(opened, scenario)


@both
def test_a_large_message_goes_in_parts_and_arrives_whole(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # in shared memory there are no parts

    async def scenario(ends: Ends) -> None:
        large = np.random.default_rng(1).integers(0, 255, 300_000, np.uint8)
        ends.a.post(pack(Header(request="large"), {"x": large}, {}))
        assert np.array_equal(unpack(await ends.at_b.frames.get())["x"], large)

    with_ends(opened, scenario, part_bytes=10_000)


@both
def test_a_cancel_passes_between_the_parts_of_a_large_message(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # in shared memory there are no parts

    async def scenario(ends: Ends) -> None:
        ends.a.post(pack(Header(request="large"), {"x": np.zeros(4_000_000, np.uint8)}, {}))
        ends.a.post(Frame(Header(kind=Kind.CANCEL, request="other")))
        assert (await ends.at_b.frames.get()).header.kind is Kind.CANCEL
        assert (await ends.at_b.frames.get()).header.request == "large"

    with_ends(opened, scenario)


@both
def test_a_message_over_the_limit_is_answered_by_an_error_and_the_next_arrives(opened: Opened) -> None:
    async def scenario(ends: Ends) -> None:
        ends.a.post(pack(Header(request="huge"), {"x": np.zeros(90_000, np.uint8)}, {}))
        ends.a.post(request_frame("small"))
        answer = (await ends.at_a.frames.get()).header
        assert (answer.kind, answer.request) == (Kind.ERROR, "huge")
        assert answer.fault is not None
        assert answer.fault.kind == "MalformedFrame"
        assert (await ends.at_b.frames.get()).header.request == "small"

    with_ends(opened, scenario, part_bytes=10_000, max_message_bytes=50_000)


@both
def test_pings_measure_the_round_trip(opened: Opened) -> None:
    async def scenario(ends: Ends) -> None:
        assert 0 <= await ends.a.ping() < 5
        assert 0 <= await ends.a.ping(padding_bytes=20_000) < 5
        assert ends.a.link.samples == 2

    with_ends(opened, scenario)


@both
def test_messages_are_acknowledged_without_an_answer(opened: Opened) -> None:
    async def scenario(ends: Ends) -> None:
        ends.a.post(request_frame())
        await until(lambda: ends.a.link.samples == 1)
        assert ends.a.link.rtt_s is not None

    with_ends(opened, scenario)


@both
def test_a_sender_stops_until_the_receiver_has_used_what_came(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WINDOW_BYTES", 10_000)

    async def scenario(ends: Ends) -> None:
        for number in range(4):
            ends.a.post(pack(Header(request=f"{number}"), {"x": np.zeros(6000, np.uint8)}, {}))
        held = [await ends.at_b.frames.get()]
        await ends.a.ping()
        assert ends.at_b.frames.empty()
        while len(held) < 4:
            ends.b.consumed(held[-1])
            held.append(await ends.at_b.frames.get())
        assert [frame.header.request for frame in held] == ["0", "1", "2", "3"]

    with_ends(opened, scenario, manual_credit=True)


@both
def test_send_waits_while_the_outbox_is_full(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OUTBOX_FRAMES", 2)

    async def scenario(ends: Ends) -> None:
        for number in range(20):
            await ends.a.send(request_frame(f"{number}"))
            assert ends.a._queued_frames <= 2
        assert [(await ends.at_b.frames.get()).header.request for _ in range(20)] == [f"{n}" for n in range(20)]

    with_ends(opened, scenario)


@both
def test_a_closed_stream_says_so_once_and_takes_no_more(opened: Opened) -> None:
    async def whole() -> None:
        async with opened() as ends:
            pass
        assert (len(ends.at_a.closed), len(ends.at_b.closed)) == (1, 1)
        with pytest.raises(StreamClosed, match="closed"):
            ends.a.post(request_frame())

    run(whole)
