"""The order of a comparison, its budget, and that it goes on where it was interrupted."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nodes.selecting.cells import Cell, Measured
from nodes.selecting.exchange import Request, Told
from orchestrator.selecting.campaign import Campaign, Findings, Task
from orchestrator.selecting.forms import Form
from orchestrator.selecting.ledger import Ledger
from tests.orchestrator.selecting.given import HALF, ORT, OV, Engines, ran

CELLS = (ORT, OV, HALF, Cell(backend="mnn"))


class Clock:
    """Goes on by a second each time an engine is asked."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def tick(self) -> None:
        self.now_s += 1.0


def run(folder: Path, engines: Engines, *, budget_s: float = 100.0, fresh: bool = False, **more: Any) -> Findings:
    forms = {"float32": Form(variant="float32", sha256="m", folder=folder, batches={"2": "there"})}
    held: dict[str, Any] = {"cells": CELLS, "reference": ORT, "versions": {}, "samples": folder / "s.npz"}
    task = Task(forms=forms, budget_s=budget_s, **(held | more))
    ledger = Ledger(folder, model="m", data="d", machine="here", fresh=fresh)
    clock = Clock()
    engines.spends = clock.tick
    return Campaign(task, ledger, engines, clock=clock, say=lambda _: None).run()


def test_the_reference_is_measured_first_halfway_and_at_the_end(tmp_path: Path) -> None:
    engines = Engines()
    found = run(tmp_path, engines)
    assert engines.asked == [ORT, OV, ORT, HALF, CELLS[3], ORT]
    assert len(found.again_s) == 3
    again = [request for request, _ in engines.requests if request.cell == ORT][1:]
    assert [(one.outputs, dict(one.batches)) for one in again] == [("", {}), ("", {})]


def test_the_spread_of_the_reference_is_told(tmp_path: Path) -> None:
    times = count(10)

    class Drifting(Engines):
        def __call__(self, request: Request, limit_s: float) -> Measured | Told:
            self.says[ORT] = ran(next(times) / 1000)
            return super().__call__(request, limit_s)

    found = run(tmp_path, Drifting())
    assert found.again_s == (0.010, 0.012, 0.015)
    assert found.noise == pytest.approx(5 / 12)


def test_after_an_interruption_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Engines({HALF: KeyboardInterrupt()}))
    engines = Engines()
    found = run(tmp_path, engines)
    assert [cell for cell in engines.asked if cell != ORT] == [HALF, CELLS[3]]
    assert found.resumed == 2
    assert {cell for cell, one in found.measured.items() if one.state == "ran"} == set(CELLS)


def test_when_all_is_known_nothing_is_measured_unless_fresh(tmp_path: Path) -> None:
    first = run(tmp_path, Engines())
    idle, busy = Engines(), Engines()
    assert run(tmp_path, idle).again_s == first.again_s
    assert idle.asked == []
    assert len(run(tmp_path, busy, fresh=True).again_s) == 3
    assert len(busy.asked) == 6


def test_what_the_budget_does_not_reach_is_left_out_and_measured_next_time(tmp_path: Path) -> None:
    found = run(tmp_path, Engines(), budget_s=3.5)
    left = [cell for cell, one in found.measured.items() if one.state == "left out"]
    assert left == [HALF, CELLS[3]]
    assert "the budget was spent" in found.measured[HALF].reason
    assert run(tmp_path, Engines()).measured[HALF].state == "ran"


def test_no_cell_is_given_longer_than_what_is_left(tmp_path: Path) -> None:
    engines = Engines()
    run(tmp_path, engines, budget_s=12.0)
    assert [limit_s for _, limit_s in engines.requests] == [12.0, 11.0, 10.0, 9.0, 8.0, 7.0]


def test_what_is_compiled_and_kept_is_measured_where_it_is_found_compiled(tmp_path: Path) -> None:
    class Compiling(Engines):
        def __call__(self, request: Request, limit_s: float) -> Measured | Told:
            self.says[OV] = ran() if request.built else Measured(state="built", first_s=9.0, build_s=8.0)
            return super().__call__(request, limit_s)

    engines = Compiling()
    found = run(tmp_path, engines).measured[OV]
    assert engines.asked[:3] == [ORT, OV, OV]
    assert found.speed is not None and found.footprint is not None
    assert (found.speed.first_s, found.speed.cached_first_s) == (9.0, 0.2)
    assert (found.footprint.build_s, found.footprint.cached) == (8.0, False)


def test_one_engines_end_is_not_the_comparisons(tmp_path: Path) -> None:
    crashed = Measured(state="crashed", reason="crashed: SIGSEGV")
    found = run(tmp_path, Engines({OV: crashed}))
    assert found.measured[OV] == crashed
    assert set(found.accuracies) == {*CELLS} - {OV}


def test_answers_are_held_against_the_references(tmp_path: Path) -> None:
    found = run(tmp_path, Engines(off={HALF: 0.125}))
    assert found.reference == ORT
    assert found.accuracies[HALF].max_error == pytest.approx(0.125)
    assert found.accuracies[OV].max_error == 0.0


def test_without_the_reference_the_first_that_ran_stands_in(tmp_path: Path) -> None:
    found = run(tmp_path, Engines({ORT: Measured(state="failed")}, off={HALF: 0.125}))
    assert found.reference == OV
    assert found.again_s == ()
    assert found.accuracies[HALF].max_error == pytest.approx(0.125)


def test_answers_that_are_no_numbers_are_spoiled(tmp_path: Path) -> None:
    found = run(tmp_path, Engines(off={HALF: float("nan")}))
    assert HALF not in found.accuracies
    assert "no number" in found.spoiled[HALF]
