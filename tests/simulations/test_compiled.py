"""The compiled fabric comes to what the plain one comes to: every request, every figure."""

import os
from pathlib import Path
from typing import Any

import pytest

from simulations.build import is_large
from simulations.compiled import forget_stale
from simulations.results import Outcome
from simulations.world import Row, World
from tests.simulations.scenarios import TWO_CELLS, plain, scenario, users

WALKING = {"kind": "waypoints", "area_m": [-100.0, -50.0, 400.0, 50.0], "speeds_mps": [20.0, 30.0]}
TROUBLE = [
    {"at_s": 6.0, "node": "mec", "is": "down"},
    {"at_s": 12.0, "node": "mec", "is": "up"},
    {"at_s": 15.0, "link": ["east", "mec2"], "mbps": 2.0},
    {"at_s": 18.0, "link": ["mec", "cloud"], "is": "down"},
]
WAVERING = {"mean_mbps": 8.0, "variation": 0.8, "memory_s": 3.0, "outage": 0.1, "outage_s": 2.0}
TRACED = [{"name": "west", "trace": {"up": WAVERING, "down": WAVERING | {"mean_mbps": 60.0}}}]
BATCHING = [
    plain()["nodes"][0],
    plain()["nodes"][1] | {"servers": 1, "batch": {"max": 4, "delay_ms": 3.0}, "queue_limit": 6},
]
CASES: dict[str, dict[str, Any]] = {
    "handovers and trouble": TWO_CELLS
    | {"users": [users("w", 25, per_s=4.0, moving=WALKING)], "timeline": TROUBLE, "duration_s": 25.0},
    "traces with outages": {"cells": TRACED, "users": [users("w", 8, per_s=2.0, budget_ms=2500.0)], "duration_s": 25.0},
    "batches in a queue that is too short": {
        "nodes": BATCHING,
        "links": plain()["links"][:1],
        "users": [users("w", 30, per_s=8.0)],
        "policy": {"kind": "edge"},
        "duration_s": 10.0,
    },
    "a fair scheduler with much to choose from": {
        "cells": [{"name": "west", "band": {"ghz": 3.5, "mhz": 10}}],
        "radio": {"scheduler": "proportional-fair"},
        "users": [users("w", 20, per_s=3.0, moving=WALKING)],
        "duration_s": 12.0,
    },
    "a crowded device": {
        "users": [users("w", 3, per_s=12.0, budget_ms=600.0)],
        "policy": {"kind": "device"},
        "duration_s": 8.0,
    },
}


def ran(told: dict[str, Any], *, compiled: bool) -> tuple[Outcome, list[Row], World]:
    """A replication, and every request in the order of its begin."""
    rows = list[Row]()
    world = World(scenario(**told), 0, compiled=compiled)
    world.on_row = rows.append
    return world.run(), sorted(rows, key=lambda row: (row[2], row[0])), world


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_request_and_every_figure_is_the_same(case: str) -> None:
    (slow, slow_rows, one), (fast, fast_rows, other) = (ran(CASES[case], compiled=way) for way in (False, True))
    assert len(slow_rows) == len(fast_rows) > 50
    for before, after in zip(slow_rows, fast_rows, strict=True):
        assert before[:3] == after[:3] and before[4:6] == after[4:6]
        assert before[3] == pytest.approx(after[3], rel=1e-9, abs=1e-9)
        assert before[6:] == pytest.approx(after[6:], rel=1e-6, abs=1e-9)
    assert dict(slow.figures) == pytest.approx(dict(fast.figures), rel=1e-6, abs=1e-9, nan_ok=True)
    assert slow.notes == fast.notes
    for name, column in slow.series.items():
        assert column == pytest.approx(fast.series[name], rel=1e-6, abs=1e-6, nan_ok=True), name
    assert one.air.handovers == other.air.handovers


def test_what_was_compiled_is_forgotten_once_any_source_is_newer(tmp_path: Path) -> None:
    source, other, kept = (tmp_path / name for name in ("a.py", "b.py", "__pycache__/a.f.nbi"))
    kept.parent.mkdir()
    for at_s, path in enumerate((source, other, kept), 1):
        path.touch()
        os.utime(path, (at_s, at_s))
    assert not forget_stale(tmp_path) and kept.exists()
    os.utime(other, (9, 9))  # whose functions a's call
    assert forget_stale(tmp_path) and not kept.exists() and source.exists()


def test_few_requests_are_not_worth_compiling_for() -> None:
    assert not is_large(scenario())
    assert is_large(scenario(duration_s=6_000.0))
    assert not is_large(scenario(duration_s=6_000.0, users=[users("w", 40_000)]))
