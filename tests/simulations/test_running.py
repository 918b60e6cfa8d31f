"""Running replications: each with its own luck, the same in any number of processes, and none left over."""

import csv
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import simulations
from simulations.errors import SimulationsError
from simulations.results import Outcome, Results
from simulations.running import replicate, run
from tests.eventually import eventually
from tests.simulations.tiny import ADAPTIVE, RADIO, TRACED, group, tiny


def told(results: Results) -> list[str]:
    """All but what hangs on the machine; as text, since NaN equals nothing."""
    return [said(outcome) for outcome in results.outcomes]


def said(outcome: Outcome) -> str:
    return repr(replace(outcome, seconds=0.0))


def test_replications_have_luck_of_their_own_and_the_same_again() -> None:
    first, again = (run(tiny(), replications=2) for _ in range(2))
    assert told(first) == told(again)
    assert len(set(first.values("latency_mean_s"))) == 2


def test_a_replication_hangs_on_no_other() -> None:
    assert said(replicate(tiny(), 1)) == told(run(tiny(), replications=2))[1]


def test_another_seed_is_other_luck() -> None:
    figures = [run(tiny(seed=seed), replications=1).values("latency_mean_s") for seed in (1, 2)]
    assert figures[0] != figures[1]


def test_rows_tell_what_the_figures_tell(tmp_path: Path) -> None:
    found = run(tiny(), replications=2, rows=tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["began_s"]) >= 1.0]  # after the warm-up
    for number, mean_s in enumerate(found.values("latency_mean_s")):
        latencies = [
            float(row["latency_s"]) for row in rows if (row["replication"], row["failed"]) == (str(number), "")
        ]
        assert sum(latencies) / len(latencies) == pytest.approx(mean_s, rel=1e-9)
    assert told(found) == told(run(tiny(), replications=2))


@pytest.mark.parametrize("processes", [1, 2])
def test_overload_is_told_once_and_before_anything_has_gone_on(processes: int) -> None:
    heard: list[object] = []
    busy = tiny(users=[group("cameras", 4, asking={"kind": "regular", "per_s": 200.0})], duration_s=2)
    note = lambda number, at_s: heard.append(at_s)  # noqa: E731
    found = run(busy, replications=2, processes=processes, progress=note, warn=heard.append)
    assert heard[0] == found.outcomes[0].overloads != ()
    assert sum(isinstance(one, tuple) for one in heard) == 1
    run(tiny(), replications=1, warn=lambda lines: pytest.fail(f"nothing is overloaded: {lines}"))


def test_progress_goes_up_to_the_end_of_each_replication() -> None:
    heard: list[tuple[int, float]] = []
    run(tiny(), replications=2, progress=lambda number, at_s: heard.append((number, at_s)))
    assert heard == sorted(heard)
    assert [max(at_s for number, at_s in heard if number == one) for one in (0, 1)] == [5.0, 5.0]


@pytest.mark.parametrize("counts", [{"replications": 0}, {"processes": 0}])
def test_none_at_all_is_refused(counts: dict[str, Any]) -> None:
    with pytest.raises(SimulationsError, match="should be 1 or more, is 0"):
        run(tiny(), **counts)


def test_rows_that_can_not_be_written_are_refused_first(tmp_path: Path) -> None:
    def never(_number: int, _at_s: float) -> None:
        raise AssertionError("simulated before it was refused")

    with pytest.raises(SimulationsError, match=r"\.csv or \.parquet"):
        run(tiny(), rows=tmp_path / "out.doc", progress=never)


def test_the_package_has_run_and_load_scenario_and_no_more() -> None:
    assert simulations.run is run
    assert callable(simulations.load_scenario)
    with pytest.raises(AttributeError, match="no public name 'walk'; it has load_scenario, run"):
        simulations.walk  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("cell", [TRACED, RADIO], ids=["traced", "radio"])
def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path, cell: dict[str, Any]) -> None:
    scenario = tiny(cells=[cell], policy=ADAPTIVE)
    found = [
        (told(run(scenario, processes=many, rows=tmp_path / f"{many}.csv")), (tmp_path / f"{many}.csv").read_bytes())
        for many in (1, 2, 3)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_progress_comes_from_other_processes_too() -> None:
    heard: dict[int, list[float]] = {0: [], 1: []}
    run(tiny(), replications=2, processes=2, progress=lambda number, at_s: heard[number].append(at_s))
    assert [at_s[-1] for at_s in heard.values()] == [5.0, 5.0]
    assert all(at_s == sorted(at_s) for at_s in heard.values())


@pytest.mark.slow
def test_what_one_process_refuses_is_raised_as_itself(tmp_path: Path) -> None:
    scenario = tiny()
    scenario = replace(scenario, groups=(replace(scenario.groups[0], pipeline="absent"),))
    with pytest.raises(KeyError, match="absent"):
        run(scenario, processes=2, rows=tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupt_ends_every_process(tmp_path: Path) -> None:
    def interrupt(_number: int, _at_s: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny(duration_s=3000), processes=2, rows=tmp_path / "out.csv", progress=interrupt)
    eventually(lambda: not multiprocessing.active_children(), what="the end of every process")
    assert list(tmp_path.iterdir()) == []
