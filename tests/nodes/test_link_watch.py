"""A stream notices by itself that its link has changed, and probes it when idle."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from nodes import link_watch
from nodes.codec import pack
from nodes.connection import Connection
from nodes.emulation import LinkShaper, ShapedLink
from nodes.framing import Frame, Header, Kind, decode
from nodes.host import Host, HostSettings
from nodes.link_watch import TRAFFIC_S, LinkWatch
from nodes.links import LARGE_BYTES
from nodes.stream import SERVER_OPTIONS, SERVICE, open_connection, serve_stream
from tests.nodes.wires import Inbox, Pair, pair, request_frame, run

FAST, SLOW = 12.5e6, 250e3


def shaped(shaper: LinkShaper, bytes_per_s: float) -> None:
    """Both directions between a and b."""
    ends = [("a", "b"), ("b", "a")]
    shaper.shape([ShapedLink(source=s, target=t, bytes_per_s=bytes_per_s, propagation_s=0.002) for s, t in ends], {})


def message(nbytes: int, name: str = "r") -> Frame:
    """A request of that weight."""
    return pack(Header(request=name), {"x": np.zeros(nbytes, np.uint8)}, {})


async def used(connection: Connection, at_peer: Inbox) -> None:
    """Traffic from which the link is known."""
    await connection.ping()
    for number in range(12):
        connection.post(message(50_000, f"{number}"))
        assert (await at_peer.frames.get()).header.request == f"{number}"
    await connection.ping()


async def stepped(connection: Connection, at_peer: Inbox, shaper: LinkShaper, changed: asyncio.Event) -> None:
    """The link gets fifty times slower; the change is told long before the message under way is through."""
    await used(connection, at_peer)
    shaped(shaper, SLOW)
    connection.post(message(1_500_000, "large"))  # takes 6 s now
    while (connection.link.goodput_bytes_per_s or FAST) > FAST / 2:
        changed.clear()
        await changed.wait()
    assert at_peer.frames.empty()
    shaped(shaper, 1e9)
    assert (await at_peer.frames.get()).header.request == "large"


def test_a_step_down_is_told_while_a_message_is_under_way_over_a_real_socket() -> None:
    async def scenario() -> None:
        shaper, changed, at_a, at_b = LinkShaper(), asyncio.Event(), Inbox(), Inbox()
        shaped(shaper, FAST)

        async def stream(_: object, context: object) -> None:
            await serve_stream(context, "b", on_open=lambda _: None, shaper=shaper, **at_b.settings())

        server = grpc.aio.server(options=SERVER_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        a = await open_connection(
            address, node="a", shaper=shaper, on_link_change=lambda _: changed.set(), **at_a.settings()
        )
        try:
            await stepped(a, at_b, shaper, changed)
        finally:
            await a.close()
            await server.stop(0)
            shaper.close()

    run(scenario)


def with_shaped_pair(scenario: Callable[[Pair, LinkShaper], Awaitable[None]]) -> None:
    async def whole() -> None:
        shaper = LinkShaper()
        shaped(shaper, FAST)
        made = pair(shaper=shaper)
        try:
            await scenario(made, shaper)
        finally:
            await made.close()
            shaper.close()

    run(whole)


def test_a_worker_tells_its_watchers_of_a_change_at_once(tmp_path: Path) -> None:
    async def scenario(made: Pair, shaper: LinkShaper) -> None:
        host = Host(HostSettings(node="a", state=tmp_path))
        events = host.watch()
        host.opened(made.a)
        house = asyncio.create_task(host.keep_house())
        steady = asyncio.Event()
        await used(made.a, made.at_b)
        while not steady.is_set():  # the house looks in and sees the link
            if (await events.get())["changed"] is False:
                steady.set()
        shaped(shaper, SLOW)
        made.a.post(message(1_500_000, "large"))
        while not (event := await events.get())["changed"] or event["goodput_bytes_per_s"] > FAST / 2:
            pass
        assert made.at_b.frames.empty()
        assert (event["source"], event["target"], event["goodput_std"]) == ("a", "b", 1.0)
        host.stopped.set()
        await house
        await host.close()

    with_shaped_pair(scenario)


def test_parts_carry_numbers_and_are_acknowledged() -> None:
    async def scenario() -> None:
        made = pair(part_bytes=10_000)
        made.a.post(message(100_000))
        await made.at_b.frames.get()
        await made.a.ping()
        parts = [header.number for data in made.wire.written if (header := decode(data).header).kind is Kind.PART]
        acks = {number for data in made.wire.other.written for number, _ in decode(data).header.acks}
        assert len(parts) == 11
        assert set(parts) <= acks
        assert made.a.link.samples == 2
        await made.close()

    run(scenario)


def test_parts_that_an_emulated_link_delivers_together_are_not_measured() -> None:
    async def scenario(made: Pair, _: LinkShaper) -> None:
        await used(made.a, made.at_b)
        made.a.post(message(600_000, "in parts"))
        await made.at_b.frames.get()
        headers = [decode(data).header for data in made.wire.written]
        parts = [
            header for header in headers if header.kind is Kind.PART and header.part and header.part.nbytes > 600_000
        ]
        assert len(parts) > 1
        assert {header.number for header in parts} == {0}

    with_shaped_pair(scenario)


def test_an_idle_link_is_probed_with_few_bytes_and_a_busy_one_not_at_all() -> None:
    async def scenario(made: Pair, shaper: LinkShaper) -> None:
        await used(made.a, made.at_b)
        sent = len(made.wire.written)
        made.a.probe_if_idle(1 << 20)
        assert len(made.wire.written) == sent
        await asyncio.sleep(0.15)  # until what was heard has been taken in
        made.a.probe_if_idle(16 << 10, idle_s=0.1)
        padding = made.a.link.bytes_in_flight
        assert padding == 16 << 10
        made.a.probe_if_idle(16 << 10, idle_s=0.0)
        assert made.a.link.bytes_in_flight == padding  # one at a time
        await made.a.ping()

    with_shaped_pair(scenario)


def test_a_ping_waits_while_the_peer_is_heard() -> None:
    async def scenario() -> None:
        made = pair()
        made.tasks[1].cancel()  # b reads nothing, so it acknowledges nothing
        await asyncio.gather(made.tasks[1], return_exceptions=True)
        ping = asyncio.create_task(made.a.ping(timeout_s=0.1))
        for _ in range(5):
            await asyncio.wait((ping,), timeout=0.05)
            made.b.post(request_frame())
            await made.at_a.frames.get()
        assert not ping.done()
        with pytest.raises(Exception, match="did not answer a ping"):
            await ping
        made.wire.incoming.put_nowait(None)
        await made.tasks[0]

    run(scenario)


def test_nothing_under_way_needs_no_timer() -> None:
    async def scenario() -> None:
        watch = LinkWatch(lambda: None, lambda: None, None)
        loop = asyncio.get_running_loop()
        watch.sent(1, 100, loop.time())
        assert watch.is_looking
        watch.acknowledged(1, 0.0, loop.time())
        while watch.is_looking:
            await asyncio.sleep(0.01)
        assert watch.estimate.samples == 1

    run(scenario)


def test_a_stream_tells_whether_traffic_or_only_probes_speak_for_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        watch = LinkWatch(lambda: None, lambda: None, None)
        clock = [time.monotonic()]
        monkeypatch.setattr(link_watch.time, "monotonic", lambda: clock[0])
        watch.sent(1, LARGE_BYTES, clock[0], is_probe=True)
        assert watch.estimate.by_probes
        watch.sent(2, LARGE_BYTES, clock[0])
        assert not watch.estimate.by_probes
        clock[0] += TRAFFIC_S + 0.1
        assert watch.estimate.by_probes
        watch.close()

    run(scenario)
