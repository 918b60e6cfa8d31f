"""Sends messages as late as emulated links would deliver them: the asyncio shell around link_clock.py.

For one-machine use only. It delays and never drops; links are FIFO among all connections of one process, and two
processes that share a link do not see each other's traffic.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from nodes.link_clock import Ends, Roads, ShapedLink

__all__ = ["LinkShaper", "ShapedLink"]
MOST_LEAD_S = 0.0005  # a ring that is later than this met a busy machine, which is no fault of the alarm's


class LinkShaper:
    """Holds messages back until the emulated links would have delivered them; belongs to one event loop.

    Waking a thread and the loop takes time that no link took, so it rings as much earlier as rings were late of late.
    """

    def __init__(self) -> None:
        self._roads = Roads()
        self._alarm: _Alarm | None = None
        self._lead_s = 0.0
        self._set_for_s: float | None = None

    def shape(self, links: Iterable[ShapedLink], paths: Mapping[Ends, tuple[Ends, ...]]) -> None:
        """Set or change links and paths, from the event loop. NodesError for a path over an unknown link."""
        self._roads.shape(links, paths, time.monotonic())
        self._set_alarm()

    def shapes(self, source: str, target: str) -> bool:
        """Whether messages from source to target are delayed at all."""
        return bool(self._roads.path(source, target))

    def send(
        self, source: str, target: str, nbytes: int, deliver: Callable[[], None], *, express: bool = False
    ) -> None:
        """Call `deliver` in the loop when `nbytes` would have arrived; at once between unshaped nodes.

        `express` messages (acknowledgements, cancels) pay the links but wait behind no other message.
        """
        path = self._roads.path(source, target)
        if not path:
            deliver()
            return
        put = self._roads.send_express if express else self._roads.send
        put(deliver, path, nbytes, time.monotonic())
        self._deliver_due()

    def close(self) -> None:
        """Stop the timer; what is under way is never delivered."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _set_alarm(self) -> None:
        next_s = self._roads.next_s()
        if next_s is None:
            return
        if self._alarm is None:
            self._alarm = _Alarm(asyncio.get_running_loop(), self._ring)
        self._set_for_s = next_s - self._lead_s
        self._alarm.set(self._set_for_s)

    def _ring(self) -> None:
        if self._set_for_s is not None and (late_s := time.monotonic() - self._set_for_s) > 0:
            self._lead_s += 0.1 * (min(late_s, MOST_LEAD_S) - self._lead_s)
            self._set_for_s = None
        self._deliver_due()

    def _deliver_due(self) -> None:
        for deliver in self._roads.due(time.monotonic() + self._lead_s / 2):
            if callable(deliver):
                deliver()
        self._set_alarm()


class _Alarm:
    """Calls back in a loop at a monotonic time, to within about 0.1 ms: epoll's own timers round up to 1 ms."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._changed = threading.Condition()
        self._at_s: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._wait, name="link-alarm", daemon=True)
        self._thread.start()

    def set(self, at_s: float) -> None:
        """Ring at `at_s` instead of whenever was set before."""
        with self._changed:
            if self._at_s != at_s:
                self._at_s = at_s
                self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _wait(self) -> None:
        with self._changed:
            while not self._closed:
                if self._at_s is None:
                    self._changed.wait()
                elif (left_s := self._at_s - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                else:
                    self._at_s = None
                    self._loop.call_soon_threadsafe(self._ring)
