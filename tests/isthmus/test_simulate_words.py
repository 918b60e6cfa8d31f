"""Simulated figures in words, and how far simulations are: digits that mean something, times that add up."""

from dataclasses import replace
from math import nan

import pytest
from rich.console import Console

from isthmus import simulation_course
from isthmus.simulation_course import Course, on_course
from isthmus.simulation_tables import (
    DECISIONS,
    KEPT,
    busy_table,
    decisions_table,
    overload_lines,
    simulation_parts,
)
from isthmus.simulation_units import told
from simulations.results import Note, Outcome, Results
from simulations.statistics import Estimate, estimate
from tests.simulations.tiny import tiny


def about(mean: float, half: float | None, *, left_out: int = 0) -> Estimate:
    return Estimate(mean=mean, half=half, std_error=None, counted=5, left_out=left_out)


@pytest.mark.parametrize(
    ("figure", "found", "text"),
    [
        ("latency_mean_s", about(0.15538, 0.00213), "155.4 ± 2.1 ms"),
        ("cameras.latency_p99_s", about(2.5, 0.031), "2.500 ± 0.031 s"),
        ("latency_p50_s", about(0.12, None), "120 ms"),
        ("latency_p50_s", about(0.12, 0.0), "120 ± 0 ms"),
        ("latency_p50_s", about(0.12, 1e-9), "120 ± 0 ms"),
        ("latency_mean_s", about(0.515, 0.97), "515 ± 970 ms"),
        ("other_s", about(-6e-16, 1e-16), "0 ± 0 s"),
        ("transfer_s", about(4.2e-5, 1e-6), "42.0 ± 1.0 µs"),
        ("missed_share", about(0.1805, 0.02), "18.1 ± 2.0 %"),
        ("mec.utilisation", about(1.0, 0.0), "100 ± 0 %"),
        ("cell.up_load", about(0.00042, 0.00073), "0.042 ± 0.073 %"),
        ("answered_per_s", about(19.04, 0.5), "19.04 ± 0.50 /s"),
        ("answered_per_s", about(12345.0, 600.0), "12,345 ± 600 /s"),
        ("energy_j", about(5094.4, 12.0), "5.094 ± 0.012 kJ"),
        ("cloud_j", about(0.0, 0.0), "0 ± 0 J"),
        ("sent_bytes", about(85872.0, None), "85.9 kB"),
        ("cost_usd", about(0.025, 0.0), "0.025 ± 0 $"),
        ("switches", about(3.67, 1.4), "3.7 ± 1.4"),
        ("latency_mean_s", about(0.1, 0.02, left_out=2), "100 ± 20 ms (5 of 7)"),
        ("latency_mean_s", about(nan, None, left_out=2), "–"),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_bears(figure: str, found: Estimate, text: str) -> None:
    assert told(figure, found) == text


def test_a_difference_has_its_sign() -> None:
    assert told("latency_mean_s", about(0.012, 0.003), sign=True) == "+12.0 ± 3.0 ms"
    assert told("latency_mean_s", about(-0.012, 0.003), sign=True) == "-12.0 ± 3.0 ms"
    assert told("switches", about(0.0, 0.0), sign=True) == "0 ± 0"


def test_course_tells_simulated_time_its_rate_and_what_is_left() -> None:
    course = Course([60.0, 60.0, 120.0], 1000.0)
    assert course.told(1000.5) == "0 of 240 s simulated, 0 of 3 runs"
    course.reached(0, 60.0)
    course.reached(2, 20.0)
    assert course.told(1004.0) == ("80 of 240 s simulated, 1 of 3 runs, 20 × real time, 0:08 left")
    assert course.told(81_000.0).endswith("44:26:40 left")


def test_a_terminal_hears_of_it_and_a_pipe_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_course([60.0]) as reached:
        assert reached is None
    terminal = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr(simulation_course, "errors", terminal)
    with on_course([60.0]) as reached:
        assert reached is not None
        reached(0, 30.0)
    assert "30 of 60 s simulated, 0 of 1 runs" in terminal.export_text()


def test_overloads_are_named_once_with_how_often_they_were_foreseen() -> None:
    lines = [("cell a, up: ρ = 1.54, it grows",), ("cell a, up: ρ = 1.2, it grows", "node mec: ρ = 1.1, it grows")]
    outcomes = tuple(Outcome(replication=at, figures={}, overloads=each) for at, each in enumerate(lines))
    assert list(overload_lines(Results(scenario=tiny(), outcomes=outcomes))) == [
        "overloaded: cell a, up: ρ = 1.54, it grows",
        "overloaded: node mec: ρ = 1.1, it grows (in 1 of 2 replications)",
    ]


def test_of_many_cells_the_busiest_are_told_and_the_rest_counted() -> None:
    found = {f"c{number}.up_load": estimate([number / 100]) for number in range(40)}
    table, rest = busy_table(found)
    assert next(iter(table.columns[0].cells)) == "cell c39, up"
    assert rest == "  and 28 more, none above 27 %"


def test_what_did_something_is_not_crowded_out_by_what_did_nothing() -> None:
    notes = [Note(at_s=1.0, deployment="d", what="switch", epoch=2, why="better")]
    notes += [Note(at_s=float(at), deployment="d", what="keep", epoch=None, why="as good") for at in range(2, 99)]
    table = decisions_table(notes)
    assert list(table.columns[1].cells) == ["switch"] + ["keep"] * KEPT
    many = [Note(at_s=float(at), deployment="d", what="open", epoch=at, why="asked") for at in range(50)]
    assert list(decisions_table(many).columns[0].cells)[-1] == "49.0 s"
    assert len(decisions_table(many).rows) == DECISIONS


def test_what_was_done_to_make_sense_of_a_trace_is_told() -> None:
    remarked = replace(tiny(), remarks=("cells[0].trace.file: a gap of 3 s was filled",))
    outcome = Outcome(replication=0, figures={})
    parts = [str(part) for part in simulation_parts(Results(scenario=remarked, outcomes=(outcome,)), {})]
    assert "cells[0].trace.file: a gap of 3 s was filled" in parts
