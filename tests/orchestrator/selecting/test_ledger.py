"""What was measured is found again: for the same model, samples, cell, version and machine, and no other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodes.selecting.cells import BatchRow, Cell, Measured
from nodes.selecting.exchange import save_tensors
from orchestrator.selecting.ledger import Ledger
from tests.orchestrator.selecting.given import HALF, ORT, answers, ran, speed

ABOUT: dict[str, Any] = {"model": "m", "data": "d", "machine": "here"}
ROW = BatchRow(batch=4, p50_s=0.02, answers_per_s=200.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, **ABOUT)


def test_what_is_kept_is_found_as_it_was(ledger: Ledger) -> None:
    cell = replace(HALF, options=(("streams", 2), ("hint", "LATENCY"), ("pin", False)))
    found = replace(ran(), speed=speed(0.01, (ROW,)))
    ledger.keep(cell, "1.0", found)
    assert ledger.find(cell, "1.0", limit_s=1.0) == found


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda folder: Ledger(folder, **ABOUT | {"model": "n"}).find(ORT, "1.0", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT | {"data": "e"}).find(ORT, "1.0", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT | {"machine": "there"}).find(ORT, "1.0", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT).find(ORT, "1.1", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT).find(replace(ORT, threads=2), "1.0", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT).find(replace(ORT, options=(("a", 1),)), "1.0", limit_s=1.0),
        lambda folder: Ledger(folder, **ABOUT, fresh=True).find(ORT, "1.0", limit_s=1.0),
    ],
)
def test_it_is_not_found_for_anything_else(
    ledger: Ledger, tmp_path: Path, elsewhere: Callable[[Path], Measured | None]
) -> None:
    ledger.keep(ORT, "1.0", ran())
    assert elsewhere(tmp_path) is None


def test_a_damaged_file_is_measured_again(ledger: Ledger, tmp_path: Path) -> None:
    ledger.keep(ORT, "1.0", ran())
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text()[:-9])
    assert ledger.find(ORT, "1.0", limit_s=1.0) is None


@pytest.mark.parametrize(("limit_s", "again"), [(10.0, False), (14.0, False), (30.0, True)])
def test_a_cell_that_took_too_long_is_asked_again_if_given_longer(ledger: Ledger, limit_s: float, again: bool) -> None:
    ledger.keep(ORT, "1.0", Measured(state="over time", limit_s=10.0))
    assert (ledger.find(ORT, "1.0", limit_s=limit_s) is None) is again


def test_what_was_left_out_is_not_known(ledger: Ledger) -> None:
    ledger.keep(ORT, "1.0", Measured(state="left out"))
    assert ledger.find(ORT, "1.0", limit_s=1.0) is None


def test_answers_are_read_back_by_sample(ledger: Ledger) -> None:
    assert ledger.answers(ORT, "1.0") is None
    save_tensors(ledger.answers_path(ORT, "1.0"), answers(off=0.5))
    held = ledger.answers(ORT, "1.0")
    assert held is not None
    assert [one["y"].tolist() for one in held] == [one["y"].tolist() for one in answers(off=0.5)]


def test_options_are_in_a_cells_name() -> None:
    assert Cell(backend="openvino", threads=2, variant="int8", options=(("streams", 2),)).name == (
        "openvino int8 form streams=2 ×2"
    )
