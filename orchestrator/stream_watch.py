"""Pings a stream while answers are awaited, and ends it once it is dead: the shell around pulse.py."""

import asyncio
import time
from collections.abc import Callable

from nodes.errors import StreamClosed
from nodes.stream import DialledConnection
from orchestrator.pulse import Pulse

PING_EVERY_S, PING_TIMEOUT_S = 1.0, 4.0  # a cut cable closes no stream by itself
LOOK_S = 0.1
HELD_UP_S = 1.0


async def look_after(
    connection: DialledConnection,
    is_awaited: Callable[[], bool],
    *,
    every_s: float = PING_EVERY_S,
    timeout_s: float = PING_TIMEOUT_S,
) -> None:
    """Until the stream is closed: a dead one is ended within `timeout_s`, and the time for what was sent ahead.

    A loop that was held up itself has not read what came, so its silence proves nothing and the wait begins anew.
    """
    pulse = Pulse(timeout_s - every_s, every_s)
    while not connection.closed:
        slept_s = time.monotonic()
        await asyncio.sleep(min(LOOK_S, every_s))
        now_s = time.monotonic()
        crossing_bytes = connection.sent_bytes - connection.shared_bytes  # memory holds nothing up, nor is it measured
        pulse.looked(connection.received_bytes, crossing_bytes, connection.link.goodput_bytes_per_s)
        if not is_awaited() or now_s - slept_s > LOOK_S + HELD_UP_S:
            pulse.rest()
        elif pulse.wants_ping(now_s):
            try:
                connection.probe()
            except StreamClosed:
                return
            pulse.pinged(now_s, connection.link.goodput_bytes_per_s)
        elif not pulse.left_s(now_s):
            connection.call.cancel()
            return
