"""How far streams are read on: in number and in bytes, and what a reader who does not read can cost."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from orchestrator.gateway.stream_room import MOST_BYTES, StreamRoom
from tests.eventually import eventually
from tests.orchestrator.gateway.served import Served
from tests.orchestrator.gateway.test_grpc import asking, call

LARGE = 8 << 20


async def is_full(room: StreamRoom, nbytes: int) -> bool:
    try:
        async with asyncio.timeout(0):
            await room.enter(nbytes)
    except TimeoutError:
        return True
    return False


async def entered(*sizes: int) -> StreamRoom:
    room = StreamRoom(3, 100)
    for size in sizes:
        assert not await is_full(room, size)
    return room


@pytest.mark.parametrize(
    ("sizes", "more", "full"), [((1, 1, 1), 1, True), ((60,), 41, True), ((60,), 40, False), ((1000,), 1, True)]
)
def test_room_is_counted_in_requests_and_in_bytes(sizes: tuple[int, ...], more: int, full: bool) -> None:
    async def story() -> None:
        assert await is_full(await entered(*sizes), more) is full

    asyncio.run(story())


def test_answers_count_until_they_are_taken_and_tell_how_large_the_next_will_be() -> None:
    async def story() -> None:
        room = await entered(1)
        counted = room.answered(1, 70)
        assert await is_full(room, 1)  # 70 are held, and 70 more are to be expected
        room.leave(counted)
        assert not await is_full(room, 1)
        assert await is_full(room, 1)

    asyncio.run(story())


@pytest.fixture(name="large")
def _large() -> Iterator[Served]:
    served = Served(most_bytes=2 * LARGE)
    yield served
    served.close()


def test_a_reader_who_does_not_read_is_not_read_from(large: Served) -> None:
    """However much it sends: what the gateway takes in is bounded in bytes."""
    data, asked, sent = bytes(LARGE), large.echo.asked, list[int]()

    def requests() -> Iterator[Any]:
        for number in range(40):
            sent.append(number)
            yield asking(shape=(LARGE // 8, 2), id=str(number), raw_input_contents=[data])

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(large.grpc, options=options) as channel:
        stream = call(channel, "ModelStreamInfer", requests())
        eventually(lambda: len(asked) >= 2, what="some are read")
        eventually(lambda: _has_stopped(asked), what="it is read no further")
        assert len(asked) * LARGE <= MOST_BYTES + 2 * LARGE
        answers = [one.infer_response for one in stream]
    assert [one.id for one in answers] == [str(number) for number in range(40)]
    assert len(asked) == 40
    assert np.frombuffer(answers[-1].raw_output_contents[0], np.uint8).size == LARGE


def _has_stopped(asked: list[Any]) -> bool:
    before = len(asked)
    time.sleep(0.5)  # to see that nothing happens there is nothing to wait for
    return len(asked) == before
