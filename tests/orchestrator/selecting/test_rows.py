"""What was measured once, as each node pays for it."""

from dataclasses import replace

import pytest

from nodes.selecting.cells import BatchRow, Measured
from nodes.selecting.exchange import Told
from orchestrator.selecting.campaign import Findings
from orchestrator.selecting.price import Price
from orchestrator.selecting.rows import Place, rows_of
from tests.orchestrator.selecting.given import HALF, ORT, OV, TOLD, ran, speed

FOUND = Findings(measured={ORT: ran(0.02), OV: ran(0.01)}, reference=ORT)


def test_an_emulated_node_is_as_much_slower_in_all_its_times() -> None:
    place = Place(name="camera", cells=(ORT,), cores=2, active_w=4.0, slowdown=8.0, price=Price(usd_per_hour=1.0))
    curve = (BatchRow(batch=4, p50_s=0.04, answers_per_s=100.0),)
    found = Findings(measured={ORT: replace(ran(), speed=speed(0.02, curve))}, reference=ORT)
    (row,) = rows_of([place], found, {}, TOLD)
    assert row.figures is not None
    assert row.figures.speed.p50_s == pytest.approx(0.16)
    assert row.figures.speed.batches == (BatchRow(batch=4, p50_s=0.32, answers_per_s=12.5),)
    assert row.figures.cost.energy_j == pytest.approx(0.01 * 8 * 4 / 2)
    assert row.figures.cost.footprint.build_s == pytest.approx(0.8)
    assert row.figures.cost.usd_per_million == pytest.approx(1 / 12.5 / 3600 * 1e6)


def test_rows_go_from_fast_to_slow_and_what_did_not_run_comes_last() -> None:
    refused = {HALF: Measured(state="refused", reason="not here")}
    rows = rows_of([Place(name="here", cells=(HALF, ORT, OV), cores=2)], FOUND, refused, TOLD)
    assert [(row.cell, row.reason) for row in rows] == [(OV, ""), (ORT, ""), (HALF, "not here")]


def test_answers_that_were_spoiled_give_no_figures() -> None:
    found = Findings(measured=FOUND.measured, spoiled={OV: "output 'y' holds what is no number"}, reference=ORT)
    (row,) = rows_of([Place(name="here", cells=(OV,), cores=2)], found, {}, TOLD)
    assert (row.state, row.reason, row.figures) == ("failed", "output 'y' holds what is no number", None)


def test_an_engine_that_could_tune_is_said_to_be_untuned() -> None:
    told = {"openvino": Told(backend="openvino", options=("trials",))}
    rows = rows_of([Place(name="here", cells=(OV, ORT), cores=2)], FOUND, {}, told)
    assert [row.reason.partition(":")[0] for row in rows] == ["untuned", ""]


def test_an_accelerators_energy_is_not_guessed_from_the_processors() -> None:
    found = Findings(measured={ORT: ran(0.02, devices=("cuda",))}, reference=ORT)
    (row,) = rows_of([Place(name="here", cells=(ORT,), cores=2, active_w=100.0)], found, {}, TOLD)
    assert row.figures is not None
    assert row.figures.cost.energy_j is None
