"""Claims about messages that are taken back before they leave."""

import asyncio

from nodes.connection import OUTBOX_FRAMES, Connection, Ends
from nodes.framing import decode
from tests.nodes.wires import Inbox, SlowWire, request_frame, run

LARGE_ROWS = 4096  # 64 KiB, less than a part


def test_what_has_not_begun_to_leave_is_never_written() -> None:
    async def scenario() -> None:
        wire = SlowWire()
        connection = Connection(wire, Ends(), **Inbox().settings())
        for name, attempt in (("r1", 1), ("r2", 1), ("r2", 2), ("r3", 1)):
            connection.post(request_frame(name, attempt=attempt))
        assert connection.withdraw("r2", 1)
        assert not connection.withdraw("r1", 1)  # on its way
        for _ in range(3):
            wire.waits[-1].set_result(None)
            await asyncio.sleep(0)
        written = [decode(data).header for data in wire.written]
        assert [(header.request, header.attempt) for header in written] == [("r1", 1), ("r2", 2), ("r3", 1)]

    run(scenario)


def test_a_link_is_not_held_to_owe_what_was_taken_back() -> None:
    async def scenario() -> None:
        connection = Connection(SlowWire(), Ends(), **Inbox().settings())
        connection.post(request_frame("r1", rows=LARGE_ROWS))
        alone = connection.link.bytes_in_flight
        connection.post(request_frame("r2", rows=LARGE_ROWS))
        assert connection.link.bytes_in_flight == 2 * alone
        connection.withdraw("r2", 0)
        assert connection.link.bytes_in_flight == alone

    run(scenario)


def test_a_full_outbox_has_room_again() -> None:
    async def scenario() -> None:
        connection = Connection(SlowWire(), Ends(), **Inbox().settings())
        for number in range(OUTBOX_FRAMES + 1):
            connection.post(request_frame(f"r{number}"))
        told: list[bool] = []
        connection.when_ready(lambda: told.append(connection.ready))
        assert not connection.ready
        connection.withdraw("r7", 0)
        assert told == [True]

    run(scenario)
