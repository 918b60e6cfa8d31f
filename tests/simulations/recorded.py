"""Recorded runs whose waiting is known: two stages and their links, first come, first served."""

from pathlib import Path

import numpy as np

from nodes.framing import HopTiming
from orchestrator.instructions import OpenEpoch
from orchestrator.journal import Journal
from orchestrator.request_log import JOURNAL, REQUESTS, Ended, RequestLog
from tests.builders import deploy_requested, plan_on

PLAN = plan_on("camera", "cloud")
BEYOND_S = 2e-4  # what each message takes beyond its link


def lindley(came_s: np.ndarray, takes_s: np.ndarray) -> np.ndarray:
    """When each is through, first come, first served."""
    through_s, now_s = np.empty_like(came_s), 0.0
    for place, (at_s, long_s) in enumerate(zip(came_s, takes_s, strict=True)):
        now_s = through_s[place] = max(now_s, at_s) + long_s
    return through_s


def recorded(folder: Path, *, per_s: float, seed: int, count: int = 4_000, traced: bool = True) -> Path:
    """A run of PLAN: two stages of some 10 ms each, one after the other, over its links."""
    folder.mkdir()
    with Journal(folder / JOURNAL) as journal:
        opened = OpenEpoch(deployment="classify", epoch=1, plan=PLAN, reason="deploy was asked")
        journal.append(deploy_requested(), (opened,), 1e9)
    draw, log = np.random.default_rng(seed), RequestLog()
    came_s = 1e9 + np.cumsum(draw.exponential(1 / per_s, count))
    at_s, hops = came_s.copy(), []
    for place, crossing in enumerate(PLAN.crossings):
        on_link_s = crossing.nbytes / 12.5e6 if crossing.source != crossing.target else 0.0
        after_s = BEYOND_S + (0.004 if crossing.source != crossing.target else 0.0)
        at_s = lindley(at_s, np.full(count, on_link_s)) + after_s
        if place < len(PLAN.stages):
            takes_s = draw.gamma(4.0, 0.0025, count)
            done_s = lindley(at_s, takes_s)
            hops.append((PLAN.stages[place].name, done_s - takes_s - at_s, takes_s))
            at_s = done_s
    for place in range(count):
        timings = tuple(HopTiming(name, wait[place], 0.0, takes[place], 0.0) for name, wait, takes in hops)
        latency_s = float(at_s[place] - came_s[place])
        log.note(Ended("classify", float(came_s[place]), latency_s, 1, 1, "", 100, timings if traced else ()))
    log.write(folder / REQUESTS)
    return folder
