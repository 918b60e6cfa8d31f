"""The same request id, one computation, one answer: for clients that ask again because they heard nothing.

Answers are kept in the router's process only. If that dies, so do they: what is asked again of another router is
computed again, which is harmless: no answer depends on one before, but a sequence's, and that ends with its router.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from orchestrator.errors import RequestTimeout
from orchestrator.remembered import Remembered
from orchestrator.router_metrics import RouterMetrics

GRACE_S = 0.1  # the request itself says best why it took too long
A = TypeVar("A")


class Once(Generic[A]):
    """Requests under way and answers kept, by key. `weigh` gives an answer's bytes."""

    def __init__(self, remembered: Remembered[A], weigh: Callable[[A], int], metrics: RouterMetrics) -> None:
        self._remembered, self._weigh, self._metrics = remembered, weigh, metrics
        self._under_way: dict[tuple[str, str], asyncio.Task[A]] = {}

    async def once(self, key: tuple[str, str], begin: Callable[[], Coroutine[Any, Any, A]], budget_s: float) -> A:
        """The answer kept, or that of the request under way, or that of one begun now, which no caller's end ends.

        RequestTimeout where one under way takes longer than this caller's budget; else what the request raises.
        """
        kept = self._remembered.find(key, time.monotonic())
        if kept is not None:
            self._metrics.note_repeat("remembered")
            return kept
        task = self._under_way.get(key)
        if task is not None:
            self._metrics.note_repeat("joined")
        else:
            task = self._under_way[key] = asyncio.create_task(begin())
            task.add_done_callback(lambda done: self._keep(key, done))
        await asyncio.wait({task}, timeout=budget_s + GRACE_S)
        if not task.done():
            raise RequestTimeout(f"request {key[1]}: no answer within {budget_s:.3g} s; it is still under way")
        return task.result()

    def forget_old(self, now_s: float) -> None:
        """Drop answers whose time is over, though nobody asks any more."""
        self._remembered.forget_old(now_s)

    async def close(self) -> None:
        """Wait for the end of what is under way."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _keep(self, key: tuple[str, str], task: "asyncio.Task[A]") -> None:
        del self._under_way[key]
        if task.cancelled() or task.exception() is not None:
            return
        answer = task.result()
        if not self._remembered.keep(key, answer, self._weigh(answer), time.monotonic()):
            self._metrics.note_fault("answer_too_large_to_keep")
