"""What each stage of a worker did of late, for whoever decides how many replicas it should have: served, busy, queued.

Told once a second while a stage is used, and every ten seconds while it is not: silence means that nobody knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nodes.stage_runner import StageRunner

USED_S = 1.0
IDLE_S = 10.0


@dataclass(slots=True)
class _Spell:
    """Where a stage's counts stood when it was last told of; `in_hand` requests waited or ran then."""

    since_s: float
    served: int = 0
    busy_s: float = 0.0
    in_hand: int = 0
    was_idle: bool = True


class StageLoads:
    """The counts of every stage that a worker holds, as of the last word about each."""

    def __init__(self) -> None:
        self._spells: dict[int, _Spell] = {}  # by the runner's own identity: its name may come again

    def news(self, runners: Iterable[StageRunner], now_s: float) -> Iterator[dict[str, Any]]:
        """What is to be told now, an event a stage; a stage that is held no more is forgotten."""
        held = {id(runner): runner for runner in runners}
        self._spells = {key: self._spells.get(key) or _Spell(now_s) for key in held}
        for key, runner in held.items():
            spell, in_hand = self._spells[key], runner.in_hand
            served, busy_s = runner.served - spell.served, runner.busy_s - spell.busy_s
            is_idle = not served and not in_hand and not spell.in_hand
            interval_s = now_s - spell.since_s
            if interval_s < (IDLE_S if is_idle and spell.was_idle else USED_S):
                continue
            self._spells[key] = _Spell(now_s, runner.served, runner.busy_s, in_hand, is_idle)
            yield {
                "event": "load",
                "deployment": runner.spec.deployment,
                "epoch": runner.spec.epoch,
                "stage": runner.spec.stage,
                "interval_s": interval_s,
                "busy_s": busy_s,
                "served": served,
                "arrived": max(served + in_hand - spell.in_hand, 0),
                "queued": max(in_hand - runner.spec.max_batch, 0),
            }
