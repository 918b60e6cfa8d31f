"""`isthmus simulate`: what it prints, writes and refuses. Scenarios of a few seconds are really simulated."""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import isthmus as public
from isthmus.verbs import simulate_on_ray
from simulations.results import Results
from simulations.running import run
from simulations.scenario import Scenario
from simulations.scenario_file import load_scenario, ready_made
from tests.isthmus.conftest import Isthmus
from tests.simulations.tiny import ADAPTIVE, group, tiny, tiny_file, tiny_yaml

ONCE = ("--replications", "1")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return tiny_file(tmp_path)


def line_of(out: str, label: str) -> str:
    """The one line that begins with the label, without it."""
    (found,) = [line.strip() for line in out.splitlines() if line.strip().startswith(label)]
    return found.removeprefix(label).strip()


def test_figures_come_with_their_intervals_for_all_and_for_each_group(isthmus: Isthmus, scenario: Path) -> None:
    ended = isthmus("simulate", scenario, "--replications", "2")
    assert (ended.code, ended.err) == (0, "")
    assert "tiny: 5 s, the first 1 s not counted, 95 requests in all, seed 1; 2 replications; ± is half" in ended.out
    assert line_of(ended.out, "all  ") == "cameras          phones"
    assert line_of(ended.out, "latency, mean").count("±") == 3
    for label in ("p50", "p95", "p99", "of the mean: radio", "queues", "compute", "transfer", "other", "throughput"):
        assert "±" in line_of(ended.out, label)
    for label in ("missed its deadline", "failed", "node mec", "cell mast, up", "energy of users' devices", "switches"):
        assert "±" in line_of(ended.out, label)


def test_the_last_decisions_come_with_their_reasons(isthmus: Isthmus, tmp_path: Path) -> None:
    ended = isthmus("simulate", tiny_file(tmp_path, policy=ADAPTIVE), *ONCE)
    decided = run(tiny(policy=ADAPTIVE), replications=1).outcomes[0].notes
    assert decided[-1].why.split(";")[0] in " ".join(ended.out.split())


def test_one_replication_has_no_intervals_and_that_is_said(isthmus: Isthmus, scenario: Path) -> None:
    ended = isthmus("simulate", scenario, *ONCE)
    assert "one replication, so without intervals; --replications 5 gives them" in ended.out
    assert "±" not in ended.out


def test_overload_is_named_first(isthmus: Isthmus, tmp_path: Path) -> None:
    busy = group("cameras", 2, asking={"kind": "regular", "per_s": 60})
    ended = isthmus("simulate", tiny_file(tmp_path, users=[busy], duration_s=2, pipelines=[pipeline()]), *ONCE)
    assert ended.out.startswith("overloaded: users cameras: their own device phone: ρ = 1.20, its queue grows")


def pipeline() -> dict[str, Any]:
    """One that stays on the device: what it sends is more than what it is given."""
    step = {"name": "all", "ms": {"phone": 20, "server": 20}, "out_kb": 1}
    return {"name": "detect", "input_kb": 40_000, "steps": [step]}


def test_json_holds_the_figures_of_every_replication_and_no_nan(isthmus: Isthmus, tmp_path: Path) -> None:
    silent = group("phones", 1, asking={"kind": "regular", "per_s": 0.01})
    path = tiny_file(tmp_path, users=[group("cameras", 2), silent])
    told = json.loads(isthmus("simulate", path, "--replications", "2", "--json").out, parse_constant=pytest.fail)
    values = [each["figures"]["latency_mean_s"] for each in told["replications"]]
    assert told["figures"]["latency_mean_s"]["mean"] == pytest.approx(sum(values) / 2)
    assert told["figures"]["phones.latency_mean_s"] == {"mean": None, "half_width": None, "counted": 0, "left_out": 2}
    assert {"at_s", "deployment", "what", "epoch", "why"} == set(told["replications"][0]["decisions"][0])


@pytest.mark.slow
def test_json_is_the_same_to_the_byte_on_any_number_of_processes(isthmus: Isthmus, tmp_path: Path) -> None:
    scenario = tiny_file(tmp_path, policy=ADAPTIVE)
    outs = [isthmus("simulate", scenario, "--processes", many, "--json").out for many in (1, 1, 2, 3)]
    assert len(outs[0]) > 1000
    assert len(set(outs)) == 1


def test_a_seed_on_the_command_line_takes_the_place_of_the_file_s(isthmus: Isthmus, scenario: Path) -> None:
    told = json.loads(isthmus("simulate", scenario, *ONCE, "--seed", "7", "--json").out)
    assert told["seed"] == 7
    assert (
        told["replications"][0]["figures"]["latency_mean_s"]
        == run(tiny(seed=7), replications=1).values("latency_mean_s")[0]
    )


def test_the_public_function_gives_what_the_command_tells(isthmus: Isthmus, scenario: Path) -> None:
    told = json.loads(isthmus("simulate", scenario, *ONCE, "--json").out)
    for given in (scenario, str(scenario), tiny()):
        found = public.simulate(given, replications=1)
        assert dict(found.outcomes[0].figures) == pytest.approx(told["replications"][0]["figures"])
    for given in (scenario, tiny()):
        assert public.simulate(given, replications=1, seed=7).values("asked") == run(
            tiny(seed=7), replications=1
        ).values("asked")


def test_rows_go_to_a_file(isthmus: Isthmus, scenario: Path, tmp_path: Path) -> None:
    ended = isthmus("simulate", scenario, *ONCE, "--rows", tmp_path / "out.csv")
    assert f"rows: {tmp_path / 'out.csv'}" in ended.out
    head, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert head.startswith("replication,user,group,began_s,latency_s,")
    assert len(rows) > 30


def slower_file(folder: Path) -> Path:
    """The scenario with a head that takes 10 ms longer at the edge, and a seed of its own, which counts for nothing."""
    pipelines = deepcopy(tiny_yaml()["pipelines"])
    pipelines[0]["steps"][1]["ms"]["server"] = 16
    return tiny_file(folder, "slower.yaml", pipelines=pipelines, seed=5)


def test_a_comparison_says_which_differences_are_real(isthmus: Isthmus, scenario: Path, tmp_path: Path) -> None:
    ended = isthmus("simulate", scenario, "--compare", slower_file(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    mean = line_of(ended.out, "latency, mean")
    assert mean.endswith(" real") and " +10." in mean
    assert mean.count("±") == 3
    assert line_of(ended.out, "failed").endswith(" no difference shown")
    assert line_of(ended.out, "compute").endswith("ms")  # no main figure, so no verdict


def test_an_equal_scenario_shows_no_difference(isthmus: Isthmus, scenario: Path) -> None:
    told = json.loads(isthmus("simulate", scenario, "--compare", scenario, "--json").out)
    assert {one["difference"]["mean"] for one in told["figures"].values()} <= {0.0, None}
    assert {one["verdict"] for one in told["figures"].values()} == {None, "not shown"}


def test_plots_and_a_page_are_written_and_named(isthmus: Isthmus, scenario: Path, tmp_path: Path) -> None:
    ended = isthmus("simulate", scenario, *ONCE, "--plot", tmp_path / "a" / "b", "--html", tmp_path / "out.html")
    assert f"plots: {tmp_path / 'a' / 'b'}" in ended.out
    assert f"page: {tmp_path / 'out.html'}" in ended.out
    assert {"latency.svg", "timeline.svg", "map.svg"} <= {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert "<h1>tiny</h1>" in (tmp_path / "out.html").read_text()


def test_a_page_of_a_comparison_tells_what_was_compared(isthmus: Isthmus, scenario: Path, tmp_path: Path) -> None:
    isthmus("simulate", scenario, *ONCE, "--compare", scenario, "--html", tmp_path / "out.html")
    assert "not shown" in (tmp_path / "out.html").read_text()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for Ray: runs one after the other in this process."""

    def run_here(scenarios: Sequence[Scenario], many: Sequence[int], **_: object) -> list[Results]:
        return [run(one, replications=count) for one, count in zip(scenarios, many, strict=True)]

    monkeypatch.setattr(simulate_on_ray, "run_on_ray", run_here)


SWEEP = ("--sweep", "users[0].count=1,6", "--replications", "2")


def test_a_sweep_has_a_row_for_each_scenario(isthmus: Isthmus, scenario: Path, here: None) -> None:
    ended = isthmus("simulate", scenario, *SWEEP)
    assert (ended.code, ended.err) == (0, "")
    for count in (1, 6):
        assert line_of(ended.out, f"users[0].count={count} ").count("±") == 8


def test_a_sweep_as_json_holds_each_scenario_as_if_it_were_alone(isthmus: Isthmus, scenario: Path, here: None) -> None:
    told = json.loads(isthmus("simulate", scenario, *SWEEP, "--json").out)["sweep"]
    assert [one.pop("label") for one in told] == ["users[0].count=1", "users[0].count=6"]
    file = tiny_file(scenario.parent, "alone.yaml", users=[group("cameras", 6), group("phones", 1)])
    assert told[1] == json.loads(isthmus("simulate", file, "--replications", "2", "--json").out)


def test_a_sweep_is_drawn_with_its_fronts(isthmus: Isthmus, scenario: Path, tmp_path: Path, here: None) -> None:
    ended = isthmus("simulate", scenario, *SWEEP, "--plot", tmp_path / "plots", "--html", tmp_path / "out.html")
    assert ended.code == 0
    names = {str(path.relative_to(tmp_path / "plots")) for path in (tmp_path / "plots").rglob("*.svg")}
    assert {"pareto-cost_usd.svg", "0-users_0_.count=1/map.svg", "1-users_0_.count=6/latency.svg"} <= names
    assert "users[0].count=6" in (tmp_path / "out.html").read_text()


def test_ready_made_scenarios_are_listed_with_what_they_are_about(isthmus: Isthmus) -> None:
    told = json.loads(isthmus("simulate", "--list", "--json").out)["scenarios"]
    assert [one["name"] for one in told] == list(ready_made())
    shown = " ".join(isthmus("simulate", "--list").out.split())
    for one in told:
        assert one["about"] == load_scenario(one["name"]).about
        assert one["name"] in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("absent.yaml",), "absent.yaml: no such file, and no ready-made scenario"),
        (("SCENARIO", "--compare", "absent.yaml"), "absent.yaml: no such file, and no ready-made scenario"),
        (("SCENARIO", "--rows", "out.txt"), "out.txt: rows go to a file that ends in .csv or .parquet"),
        (("SCENARIO", "--rows", "absent/out.csv"), "absent/out.csv: there is no folder absent; make it first"),
        (("SCENARIO", "--html", "out.pdf"), "--html out.pdf: a page is written; name a file that ends in .html"),
        (("SCENARIO", "--html", "absent/a.html"), "--html absent/a.html: there is no folder absent; make it first"),
        (("SCENARIO", "--plot", "SCENARIO"), "can't be a folder: File exists"),
        (("SCENARIO", "--sweep", "users[0].cuont=1"), "users[0] has no key 'cuont'; there are count"),
        (("SCENARIO", "--sweep", "users[0].count=0"), "users[0].count=0: users[0].count: should be greater than"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    isthmus: Isthmus, scenario: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = isthmus("simulate", *(scenario if each == "SCENARIO" else each for each in arguments))
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.line


def test_a_fault_of_the_file_is_said_with_its_path(isthmus: Isthmus, tmp_path: Path) -> None:
    path = tiny_file(tmp_path, users=[group("cameras", -2)])
    assert isthmus("simulate", path).line.startswith(f"{path}: users[0].count: should be greater than or equal to 1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "SCENARIO: give a YAML file or a ready-made scenario; --list names these"),
        (("one", "--compare", "two", "--sweep", "seed=1"), "--sweep: can't go with --compare"),
        (("one", "--compare", "two", "--rows", "out.csv"), "--rows: are one scenario's: leave --compare out"),
        (("one", "--replications", "0"), "Invalid value for '--replications'"),
    ],
)
def test_wrong_usage_exits_2(isthmus: Isthmus, arguments: tuple[str, ...], said: str) -> None:
    ended = isthmus("simulate", *arguments)
    assert ended.code == 2
    assert said in ended.err
