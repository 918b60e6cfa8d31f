"""The watch over a stream, with a stream in memory whose clock is a real one but small."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from nodes.links import LinkEstimate
from orchestrator.stream_watch import look_after

EVERY_S, TIMEOUT_S = 0.02, 0.1


@dataclass
class Stream:
    """Counts pings; `answers` of them come back, each as 50 bytes. Its call's end closes it."""

    answers: int = 0
    sent_bytes: int = 0
    shared_bytes: int = 0
    received_bytes: int = 0
    pings: int = 0
    closed: bool = False
    link: LinkEstimate = field(default_factory=LinkEstimate)

    def probe(self) -> None:
        self.pings += 1
        self.sent_bytes += 50
        if self.pings <= self.answers:
            self.received_bytes += 50

    @property
    def call(self) -> "Stream":
        return self

    def cancel(self) -> None:
        self.closed = True


def watched(stream: Any, *, is_awaited: bool = True, within_s: float = 5.0) -> bool:
    """Whether the watch ended the stream within that time."""

    async def whole() -> None:
        watch = look_after(stream, lambda: is_awaited, every_s=EVERY_S, timeout_s=TIMEOUT_S)
        await asyncio.wait({asyncio.create_task(watch)}, timeout=within_s)

    asyncio.run(whole())
    return bool(stream.closed)


def test_a_silent_stream_is_ended_after_one_ping() -> None:
    stream = Stream()
    assert watched(stream)
    assert stream.pings == 1


def test_a_stream_is_pinged_again_after_each_answer_and_ended_when_they_cease() -> None:
    stream = Stream(answers=3)
    assert watched(stream)
    assert stream.pings == 4


def test_a_stream_is_let_be_while_nothing_is_awaited() -> None:
    stream = Stream()
    assert not watched(stream, is_awaited=False, within_s=0.3)
    assert stream.pings == 0


def test_a_message_ahead_of_the_ping_buys_the_time_that_it_takes() -> None:
    assert not watched(Stream(sent_bytes=100_000), within_s=0.5)


def test_a_message_in_shared_memory_buys_none() -> None:
    assert watched(Stream(sent_bytes=100_000, shared_bytes=100_000), within_s=2.0)
