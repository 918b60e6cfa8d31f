"""Which messages of a stream go by shared memory, and that nothing else about them is different."""

import asyncio
import os
from dataclasses import dataclass

import numpy as np
import pytest

from nodes import placing
from nodes.codec import pack, unpack
from nodes.connection import WINDOW_BYTES, Connection, Ends
from nodes.emulation import LinkShaper, ShapedLink
from nodes.framing import Frame, Header, Kind, decode, encode
from nodes.placing import LEAST_BYTES, MOST_BYTES, Placing
from nodes.shared_memory import KEPT_BYTES, POOL_BYTES, Pool, View, opened
from tests.nodes.wires import Inbox, MemoryWire, Pair, request_frame, run

FLOATS = 100_000


def large(name: str, fill: float = 1.0, floats: int = FLOATS) -> Frame:
    return pack(Header(deployment="d", stage="s1", request=name), {"x": np.full(floats, fill, np.float32)}, {})


def link(source: str, target: str) -> ShapedLink:
    return ShapedLink(source=source, target=target, bytes_per_s=1e9, propagation_s=0.0)


@dataclass
class Shared(Pair):
    """Two connections, of which a places in memory what b reads."""

    pool: Pool
    view: View

    async def heard(self) -> Frame:
        return await self.at_b.frames.get()

    @property
    def wire_bytes(self) -> int:
        return sum(map(len, self.wire.written))


def shared(capacity_bytes: int = POOL_BYTES, **settings: object) -> Shared:
    wires = MemoryWire(), MemoryWire()
    wires[0].other, wires[1].other = wires[1], wires[0]
    at_a, at_b, pool = Inbox(), Inbox(), Pool(capacity_bytes)
    view = opened(pool.offer)
    assert view is not None
    a_to_b, b_to_a = Ends(node="a", peer_node="b"), Ends(node="b", peer_node="a")
    a = Connection(wires[0], a_to_b, placing=Placing(pool), **at_a.settings(), **settings)  # type: ignore[arg-type]
    b = Connection(wires[1], b_to_a, placing=Placing(None, view), **at_b.settings())
    return Shared(a, b, at_a, at_b, wires[0], [asyncio.create_task(end.run()) for end in (a, b)], pool, view)


def test_a_large_message_leaves_the_wire_a_small_frame_and_counts_in_full() -> None:
    async def scenario() -> None:
        made = shared()
        made.a.post(large("r1", 7.0))
        frame = await made.heard()
        assert (unpack(frame)["x"] == 7.0).all()
        assert (frame.header.request, frame.header.deployment, frame.header.stage) == ("r1", "d", "s1")
        assert made.wire_bytes < 1000
        assert made.a.shared_bytes == 4 * FLOATS
        assert made.a.sent_bytes == made.b.received_bytes == made.wire_bytes + 4 * FLOATS
        await made.close()

    run(scenario)


@pytest.mark.parametrize("floats", [1, LEAST_BYTES // 4 - 1, MOST_BYTES // 4 + 1])
def test_small_messages_and_huge_ones_take_the_socket(floats: int) -> None:
    async def scenario() -> None:
        made = shared()
        made.a.post(large("r1", floats=floats))
        assert (await made.heard()).nbytes == 4 * floats
        assert made.a.shared_bytes == 0
        assert made.wire_bytes > 4 * floats
        await made.close()

    run(scenario)


def test_messages_keep_their_order_whichever_way_they_go() -> None:
    async def scenario() -> None:
        made = shared()
        names = [f"r{number}" for number in range(60)]
        for number, name in enumerate(names):
            made.a.post(large(name) if number % 3 else request_frame(name))
        assert [(await made.heard()).header.request for _ in names] == names
        await made.close()

    run(scenario)


def test_a_full_pool_sends_by_the_socket_until_there_is_room() -> None:
    async def scenario() -> None:
        made = shared(1 << 20)
        blocked = [made.pool.place([bytes(LEAST_BYTES)], LEAST_BYTES) for _ in range(6)]
        made.a.post(large("socket", 2.0))
        assert (unpack(await made.heard())["x"] == 2.0).all()
        assert made.a.shared_bytes == 0
        for place in blocked:
            assert place is not None
            made.view._free(place.slot)
        made.a.post(large("memory", 3.0))
        assert (unpack(await made.heard())["x"] == 3.0).all()
        assert made.a.shared_bytes == 4 * FLOATS
        await made.close()

    run(scenario)


def test_over_an_emulated_link_everything_takes_it() -> None:
    async def scenario() -> None:
        shaper = LinkShaper()
        shaper.shape([link("a", "c")], {("a", "c"): (("a", "c"),)})
        made = shared(shaper=shaper)
        made.a.post(large("free"))
        await made.heard()
        assert made.a.shared_bytes == 4 * FLOATS
        shaper.shape([link("a", "b")], {("a", "b"): (("a", "b"),)})
        made.a.post(large("shaped"))
        assert (await made.heard()).header.request == "shaped"
        assert made.a.shared_bytes == 4 * FLOATS
        await made.a.ping()
        assert made.a.link.goodput_bytes_per_s is not None
        await made.close()
        shaper.close()

    run(scenario)


def test_what_memory_carried_tells_nothing_of_the_link() -> None:
    async def scenario() -> None:
        made = shared()
        for number in range(30):
            made.a.post(large(f"r{number}"))
            await made.heard()
        while not made.a.transfers[0]:
            await asyncio.sleep(0.01)
            assert made.a.link.rtt_s is None  # a copy's time and a small frame's
        await made.a.ping()
        known = made.a.link
        assert known.rtt_s is not None
        assert (known.goodput_bytes_per_s, known.bytes_in_flight, known.by_probes) == (None, 0, True)
        assert made.a.transfers[0] == 30
        await made.close()

    run(scenario)


def test_what_waits_for_credit_and_goes_by_memory_is_no_traffic_on_the_link() -> None:
    async def scenario() -> None:
        made = shared()
        made.a._outstanding_bytes = WINDOW_BYTES
        made.a.post(large("waits"))
        made.b._credit_bytes = WINDOW_BYTES
        made.b.post(request_frame("credits"))
        await made.heard()
        assert made.a.link.by_probes
        await made.close()

    run(scenario)


def test_what_found_no_room_tells_of_the_link_as_ever() -> None:
    async def scenario() -> None:
        made = shared(64)  # no room for anything
        for number in range(5):
            made.a.post(large(f"r{number}", floats=LEAST_BYTES // 4))  # less than a part
            await made.heard()
        await made.a.ping()
        assert made.a.link.goodput_bytes_per_s is not None
        await made.close()

    run(scenario)


def test_cancelled_lost_and_unread_messages_free_their_regions() -> None:
    async def scenario() -> None:
        made = shared()
        for number in range(400):
            made.a.post(large(f"r{number}", floats=LEAST_BYTES // 4))
        while made.pool.used_bytes == 0:
            await asyncio.sleep(0)
        for _ in range(400):
            await made.heard()
        assert (made.pool.used_bytes, made.view.held_bytes) == (0, 0)
        assert made.a.shared_bytes == 400 * LEAST_BYTES
        await made.close()

    run(scenario)


def test_what_is_kept_stays_right_when_the_stream_is_over() -> None:
    async def scenario() -> None:
        made = shared()
        made.a.post(large("r1", 5.0))
        kept = unpack(await made.heard())["x"]
        await made.close()
        del made
        assert (kept == 5.0).all()

    run(scenario)


PLACES = {"far": (1 << 40, 100, 0), "long": (0, POOL_BYTES + 1, 0), "odd": (8, 100, 0), "mark": (0, 100, 9999)}


@pytest.mark.parametrize("name", [*PLACES, "nothing there", "not a place", "no memory"])
def test_a_place_that_is_none_is_refused_by_name_and_the_stream_goes_on(name: str) -> None:
    async def scenario() -> None:
        made = shared()
        said = np.array(PLACES.get(name, (0, 64, 0)), "<u8").tobytes()[: 7 if name == "not a place" else None]
        told = made.a if name == "no memory" else made.b
        inbox, wire = (made.at_b, made.wire) if name == "no memory" else (made.at_a, made.wire.other)
        wire.incoming.put_nowait(encode(Frame(Header(kind=Kind.PLACED, request="bad"), (said,))))
        answer = (await inbox.frames.get()).header
        assert (answer.kind, answer.request) == (Kind.ERROR, "bad")
        assert answer.fault is not None
        assert answer.fault.kind == "MalformedFrame"
        assert not told.closed
        made.a.post(large("after"))
        while (await made.heard()).header.request != "after":
            continue
        await made.close()

    run(scenario)


def test_the_credit_of_a_message_that_was_refused_comes_back_and_what_its_frame_carried_counts() -> None:
    async def scenario() -> None:
        made = shared()
        made.b.post(request_frame("owed"))  # a's next frame carries the acknowledgement
        await made.at_a.frames.get()
        made.b._placing.close()
        made.a.post(large("refused"))
        assert made.a._outstanding_bytes == 4 * FLOATS
        fault = (await made.at_a.frames.get()).header.fault
        assert fault is not None
        while made.a._outstanding_bytes or made.b._outstanding_bytes:
            await asyncio.sleep(0)
        assert (made.b.link.samples, made.b.transfers[0]) == (1, 1)
        await made.close()

    run(scenario)


def test_only_tensors_may_lie_in_memory() -> None:
    async def scenario() -> None:
        made = shared()
        data = encode(Frame(Header(kind=Kind.CANCEL, request="hidden")))
        place = made.pool.place([data], len(data))
        assert place is not None
        said = np.array(place, "<u8").tobytes()
        made.wire.other.incoming.put_nowait(encode(Frame(Header(kind=Kind.PLACED, request="bad"), (said,))))
        fault = (await made.at_a.frames.get()).header.fault
        assert fault is not None
        assert "CANCEL" in fault.message
        assert made.pool.used_bytes == 0
        await made.close()

    run(scenario)


def test_an_idle_streams_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "GIVE_BACK_S", 0.01)

    async def scenario() -> None:
        made = shared()
        fd = os.dup(int(made.pool.offer.split(":")[2]))
        for number in range(4):
            made.a.post(large(f"r{number}", floats=MOST_BYTES // 4))
        frames = [await made.heard() for _ in range(4)]
        assert os.fstat(fd).st_blocks * 512 > 4 * MOST_BYTES
        frames.clear()
        while made.pool.is_wide:
            await asyncio.sleep(0.01)
        assert os.fstat(fd).st_blocks * 512 < KEPT_BYTES + (1 << 16)
        os.close(fd)
        await made.close()

    run(scenario)


def test_what_is_withdrawn_takes_no_memory() -> None:
    async def scenario() -> None:
        made = shared()
        made.a.post(large("leaves"))
        made.a.post(large("withdrawn"))
        assert made.a.withdraw("withdrawn", 0)
        assert made.a.shared_bytes == 4 * FLOATS
        assert [decode(data).header.kind for data in made.wire.written] == [Kind.PLACED]
        await made.close()

    run(scenario)
