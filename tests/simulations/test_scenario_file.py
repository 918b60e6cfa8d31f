"""What is refused in a scenario's file: one line with the path in it and the reason."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import Control
from orchestrator.errors import SpecError
from orchestrator.events import Tick
from simulations.errors import SimulationsError
from simulations.running import run
from simulations.scenario_file import load_scenario, parse_scenario
from tests.simulations.tiny import RADIO, TRACED, group, tiny, tiny_file, tiny_yaml

DELETE = object()
PATH = {"kind": "path", "area_m": [0, 0, 9, 9], "points": [[0, 0, 0], [9, 9, 9]]}
WALK = {"kind": "waypoints", "area_m": [0, 0, 9, 9], "speeds_mps": [1, 2]}
CUT = {"at_s": 1, "link": ["mast", "mec"], "is": "down"}
BAND: dict[str, Any] = {"ghz": 3.5, "mhz": 40}
GPUS = {"file": "x.csv", "hardware": "a100", "model": "7b", "gpus": 2, "phase": "token", "size": 4}
STEPS = [{"name": "stem", "ms": {"phone": 1}, "out_kb": 1}]

# Keys that lead to an entry of the file, what is put there, the path that must be named, and a telling word.
BROKEN: tuple[tuple[str, Any, str, str], ...] = (
    ("duration_s", 0, "duration_s", "greater than 0"),
    ("duration_s", -5, "duration_s", "greater than 0"),
    ("duration_s", DELETE, "duration_s", "missing"),
    ("duration_s", "long", "duration_s", "number"),
    ("duration_s", float("nan"), "duration_s", "finite"),
    ("duration", 5, "duration", "duration_s"),
    ("name", "a b", "name", "'a b': a name is letters"),
    ("policy", {"spelling": 1}, "policy.spelling", "unknown key; remove it"),
    ("cells.0.ghz", 3.5, "cells[0].ghz", "unknown key; remove it"),
    ("users.0.moving.are_m", [0, 0, 1, 1], "users[0].moving.are_m", "did you mean 'area_m'?"),
    ("pipelines.0.steps.0.ouk_kb", 3, "pipelines[0].steps[0].ouk_kb", "did you mean 'out_kb'?"),
    ("warmup_s", -1, "warmup_s", "greater than or equal to 0"),
    ("warmup_s", 5, "warmup_s", "nothing would be counted"),
    ("replications", 0, "replications", "greater than or equal to 1"),
    ("seed", -1, "seed", "greater than or equal to 0"),
    ("cells", [], "cells", "at least 1"),
    ("cells", [TRACED, RADIO | {"name": "other"}], "cells", "all have a trace"),
    ("cells", [TRACED | {"name": "alone"}, TRACED], "cells[0]", "reach no node"),
    ("cells", [TRACED, TRACED], "cells[1].name", "used twice"),
    ("cells.0.trace", DELETE, "cells[0]", "a band or a trace"),
    ("cells.0.trace.up.mean_mbps", 0, "cells[0].trace.up.mean_mbps", "greater than 0"),
    ("cells.0.trace.down.outage", 1, "cells[0].trace.down.outage", "less than 1"),
    ("cells.0.trace.down", DELETE, "cells[0].trace", "up and down"),
    ("cells.0.trace.file", "x.csv", "cells[0].trace", "file plays no part"),
    ("cells.0.trace.like", "x.csv", "cells[0].trace", "like plays no part"),
    ("cells.0.trace", {"file": "x.csv", "like": "x.csv"}, "cells[0].trace", "keep one"),
    ("cells.0.trace", {"file": "x.csv"}, "cells[0].trace.file", "x.csv: No such file or directory"),
    ("cells.0.trace", {"like": "x.csv"}, "cells[0].trace.like", "x.csv: No such file or directory"),
    ("cells.0.site", 7, "cells[0].site", "add places"),
    ("places", {"file": "x.csv"}, "places", "no cell stands at one of them"),
    ("cells.0", RADIO | {"band": BAND | {"block_errors": {}}}, "cells[0].band.block_errors", "down, up or both"),
    ("cells.0", RADIO | {"band": BAND | {"block_errors": {"up": "x.json"}}}, "cells[0].band.block_errors.up", "x.json"),
    ("cells.0", RADIO | {"band": {"ghz": 3.5, "mhz": 41}}, "cells[0].band", "no NR carrier"),
    ("cells.0", RADIO | {"band": {"ghz": 0.1, "mhz": 40}}, "cells[0].band.ghz", "0.5"),
    ("cells.0", RADIO | {"band": {"ghz": 3, "mhz": 40, "up_share": 0.5}}, "cells[0].band.up_share", "all slots"),
    ("radio", {"step_s": 0}, "radio.step_s", "greater than 0"),
    ("radio", {"surroundings": "InF"}, "radio.surroundings", "UMi"),
    ("radio", {"scheduler": "fair"}, "radio.scheduler", "proportional-fair"),
    ("radio", {"scheduler": "proportional-fair"}, "radio.scheduler", "shared equally"),
    ("radio", {"surroundings": "UMa"}, "radio.surroundings", "plays no part"),
    ("radio", {"core_ms": -1}, "radio.core_ms", "greater than or equal to 0"),
    ("nodes", [], "nodes", "at least 1"),
    ("nodes.1.name", "cloud", "nodes[2].name", "used twice"),
    ("nodes.1.name", "mast", "nodes[1].name", "used twice"),
    ("nodes.1.tier", "fog", "nodes[1].tier", "edge"),
    ("nodes.1.speed", 0, "nodes[1].speed", "greater than 0"),
    ("nodes.1.servers", 0, "nodes[1].servers", "greater than or equal to 1"),
    ("nodes.1.like", DELETE, "nodes[1].like", "missing"),
    ("nodes.1.like", "sever", "nodes[1].like", "no pipeline has times of class 'sever'"),
    ("nodes.0.active_w", 0.1, "nodes[0].active_w", "less than idle_w"),
    ("nodes.1.power", GPUS, "nodes[1].active_w", "leave one of both out"),
    ("nodes.2.power", GPUS, "nodes[2].power.file", "No such file"),
    ("nodes.1.batch", {"max": 2, "preferred": [4]}, "nodes[1].batch.preferred", "above max"),
    ("nodes.1.cores", 4, "nodes[1].cores", "unknown key"),
    ("links.0.between", ["mast", "edge"], "links[0].between", "no cell or node 'edge'"),
    ("links.0.between", ["mast", "phone"], "links[0].between", "is a device"),
    ("links.1.between", ["mec", "mast"], "links[1].between", "linked twice"),
    ("links.1.between", ["mec", "mec"], "links[1].between", "linked with itself"),
    ("links.0.mbps", 0, "links[0].mbps", "greater than 0"),
    ("links.0.rtt_ms", DELETE, "links[0].rtt_ms", "missing"),
    ("links", [], "cells[0]", "reach no node"),
    ("pipelines.0.steps", [], "pipelines[0]", "a model, or steps"),
    ("pipelines.0.input_kb", DELETE, "pipelines[0]", "need input_kb"),
    ("pipelines.0.steps", [*STEPS, *STEPS], "pipelines[0]", "one name"),
    ("pipelines.0.steps.0.ms", {}, "pipelines[0].steps[0].ms", "at least 1"),
    ("pipelines.0.steps.0.ms.phone", -1, "pipelines[0].steps[0].ms.phone", "greater than or equal to 0"),
    ("pipelines.0.steps.0.ms", {"server": 1}, "nodes[0].like", "times of class 'phone'"),
    ("pipelines.0.steps.0.out_kb", 0, "pipelines[0].steps[0].out_kb", "greater than 0"),
    ("pipelines.0", {"name": "detect", "model": "no.json"}, "pipelines[0].model", "no such file"),
    ("pipelines.0", {"name": "detect", "model": "."}, "pipelines[0].model", ". is a folder"),
    ("pipelines.0", {"name": "detect", "model": "a.onnx", "profile": "."}, "pipelines[0].profile", ". is a folder"),
    ("pipelines.0", {"name": "detect", "model": "a.onnx", "profile": "no.json"}, "pipelines[0].profile", "no such"),
    ("pipelines.0", {"name": "detect", "model": "a.json", "input_kb": 3}, "pipelines[0].input_kb", "plays no part"),
    ("pipelines.0", {"name": "detect", "model": "a.json", "profile": "a.json"}, "pipelines[0].profile", "has its own"),
    ("pipelines.0.profile", "a.json", "pipelines[0].profile", "plays no part with steps"),
    ("pipelines.0.max_error", 2, "pipelines[0].max_error", "less than or equal to 1"),
    ("pipelines.0.objective", "speed", "pipelines[0].objective", "latency"),
    ("users.0.name", "all", "users[0].name", "everybody together"),
    ("users.0.device", "mec", "users[0].device", "tier device"),
    ("users.0.pipeline", "detekt", "users[0].pipeline", "no pipeline 'detekt'"),
    ("users.1.name", "cameras", "users[1].name", "used twice"),
    ("users.0.count", 0, "users[0].count", "greater than or equal to 1"),
    ("users.0.deadline_ms", DELETE, "users[0].deadline_ms", "missing"),
    ("users.0.budget_ms", 10, "users[0].budget_ms", "before the deadline"),
    ("users.0.asking.per_s", 0, "users[0].asking.per_s", "greater than 0"),
    ("users.0.asking.per_s", DELETE, "users[0].asking", "needs per_s"),
    ("users.0.asking.per_s", 1e9, "users[0].asking.per_s", "less than or equal to 1000000"),
    ("users.0.asking.per_s", 6e5, "users[0].asking", "1,200,000 requests a second of all its users"),
    ("users.0.asking.swing", 0.9, "users[0].asking.swing", "poisson; leave it out, or take kind: diurnal"),
    ("users.0.asking", {"kind": "on-off", "per_s": 1, "on_s": 1}, "users[0].asking", "needs off_s"),
    ("users.0.asking", {"kind": "recorded", "file": "no.csv"}, "users[0].asking.file", "No such file"),
    ("users.0.moving.area_m", [0, 0, -9, 9], "users[0].moving", "west"),
    ("users.0.moving.speeds_mps", [-5, 10], "users[0].moving.speeds_mps", "take kind: waypoints or streets"),
    ("users.0.moving", WALK | {"block_m": 50}, "users[0].moving.block_m", "no part with kind: waypoints"),
    ("users.0.moving", WALK | {"speeds_mps": [0, 2]}, "users[0].moving.speeds_mps", "never arrive"),
    ("users.0.moving", WALK | {"speeds_mps": [-2, -1]}, "users[0].moving.speeds_mps", "rising"),
    ("users.0.moving", WALK | {"kind": "streets", "block_m": 50}, "users[0].moving.block_m", "not one block"),
    ("users.0.moving", PATH | {"points": [[0, 0, 0]]}, "users[0].moving.points", "two or more"),
    ("users.0.moving", PATH | {"points": [[5, 0, 0], [9, 9, 9]]}, "users[0].moving.points", "it is 0"),
    ("users.0.moving", PATH | {"points": [[0, 0, 0], [9, 1, 1], [4, 2, 2]]}, "users[0].moving.points", "must rise"),
    ("timeline", [{"at_s": -1, "node": "mec", "is": "down"}], "timeline[0].at_s", "greater than or equal to 0"),
    ("timeline", [{"at_s": 9, "node": "mec", "is": "down"}], "timeline[0].at_s", "after the end"),
    ("timeline", [{"at_s": 1, "node": "phone", "is": "down"}], "timeline[0].node", "beyond the devices"),
    ("timeline", [{"at_s": 1, "link": ["mast", "cloud"], "is": "down"}], "timeline[0].link", "no link between"),
    ("timeline", [{"at_s": 1, "users": "robots", "ask_times": 2}], "timeline[0].users", "no users 'robots'"),
    ("timeline", [{"at_s": 1, "users": "phones", "ask_times": 0}], "timeline[0].ask_times", "greater than 0"),
    ("timeline", [{"at_s": 1, "users": "phones", "ask_times": 1e6}], "users[1].asking", "4,000,000 requests a second"),
    ("timeline", [{"at_s": 1, "users": "phones", "ask_times": 2, "is": "down"}], "timeline[0].is", "ask_times; leave"),
    ("timeline", [{"at_s": 1, "node": "mec", "is": "up", "mbps": 5}], "timeline[0].mbps", "told by is; leave it out"),
    ("timeline", [{"at_s": 1, "link": ["mast", "mec"], "mbps": 5, "ask_times": 2}], "timeline[0].ask_times", "mbps or"),
    ("timeline", [{"at_s": 1, "node": "mec"}], "timeline[0]", "what becomes of it"),
    ("timeline", [{"at_s": 1, "node": "mec", "users": "phones", "is": "up"}], "timeline[0]", "one thing"),
    ("timeline", [{"at_s": 1, "link": ["mec", "mast"], "is": "down", "mbps": 4}], "timeline[0].mbps", "no rate"),
    ("timeline", [{"at_s": 2, "link": ["mec", "mast"], "mbps": 9}, CUT], "timeline[0]", "is down since 1 s"),
    ("policy", {"kind": "clever"}, "policy.kind", "adaptive"),
    ("policy", {"min_gain": 1}, "policy.min_gain", "less than 1"),
    ("policy", {"every_s": 0.1}, "policy.every_s", "greater than or equal to 1"),
    ("policy", {"kind": "static", "rule": "my.py:own"}, "policy.rule", "asks no rule"),
    ("policy", {"rule": "my.py:own"}, "policy.rule", "no such file"),
    ("pipelines.0.replicas", 0, "pipelines[0].replicas", "greater than or equal to 1"),
    ("pipelines.0.replicas", 2, "pipelines[0].replicas", "at most 1 that can share"),
    ("users.0.priority", -1, "users[0].priority", "greater than or equal to 0"),
)  # fmt: skip


def changed(data: Any, keys: str, value: Any) -> Any:
    """A copy of nested lists and mappings with one entry another, or gone."""
    key, _, further = keys.partition(".")
    held: dict[Any, Any] = dict(enumerate(data)) if isinstance(data, list) else dict(data)
    at: Any = int(key) if isinstance(data, list) else key
    if further:
        held[at] = changed(held[at], further, value)
    elif value is DELETE:
        del held[at]
    else:
        held[at] = value
    return list(held.values()) if isinstance(data, list) else held


def refusal(data: Any, folder: Path = Path()) -> str:
    """What is said of a scenario that can't be."""
    with pytest.raises(SpecError) as refused:
        parse_scenario(data, where="file.yaml", folder=folder)
    return str(refused.value)


@pytest.mark.parametrize(("keys", "value", "path", "word"), BROKEN, ids=[f"{one[0]}-{one[3]}" for one in BROKEN])
def test_a_broken_entry_is_named_by_its_path_in_one_line(keys: str, value: Any, path: str, word: str) -> None:
    said = refusal(changed(tiny_yaml(), keys, value))
    assert said.startswith(f"file.yaml: {path}: "), said
    assert word in said
    assert "\n" not in said


def test_a_node_like_none_that_was_measured_is_named() -> None:
    measured = {"name": "detect", "model": "efficientnet_lite0.json"}
    said = refusal(tiny_yaml(pipelines=[measured]))
    assert said.startswith("file.yaml: nodes[0].like: no pipeline has times of class 'phone'; there are xeon-1core")


def test_a_pipelines_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    said = refusal(tiny_yaml(pipelines=[{"name": "detect", "model": "bad.json"}]), tmp_path)
    assert said.startswith(f"file.yaml: pipelines[0].model: {tmp_path / 'bad.json'}: KeyError: 'graph'")


def test_a_user_who_stands_out_of_coverage_is_named_with_group_and_cell() -> None:
    afar = group("cameras", 2, moving={"kind": "standing", "area_m": [9e4, 9e4, 9.1e4, 9.1e4]})
    weak = RADIO | {"band": {"ghz": 28, "mhz": 100, "spacing_khz": 120}}
    said = refusal(tiny_yaml(cells=[weak], users=[group("phones", 1), afar]))
    assert said.startswith("file.yaml: users[1]: user 0 of 'cameras', nearest cell 'mast', in replication 0: out of")


def test_users_who_may_yet_walk_into_coverage_are_not_refused_while_one_is_reached() -> None:
    walk = WALK | {"area_m": [-4000, -4000, 4000, 4000]}
    weak = RADIO | {"band": {"ghz": 28, "mhz": 100, "spacing_khz": 120}}
    scenario = tiny(cells=[weak], replications=1, users=[group("walkers", 200, moving=walk)])
    assert scenario.groups[0].count == 200


def test_a_trace_that_goes_backwards_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "back.csv").write_text("0\n400\n300\n")
    said = refusal(tiny_yaml(cells=[{"name": "mast", "trace": {"file": "back.csv"}}]), tmp_path)
    assert said == f"file.yaml: cells[0].trace.file: {tmp_path / 'back.csv'}, line 3: 300 ms is before 400 ms"


def test_gaps_in_a_trace_are_cut_out_counted_and_said(tmp_path: Path) -> None:
    lines = ["run_num,seq_num,Throughput", *(f"1,{at},{20 + at % 7}" for at in (*range(20), *range(60, 80)))]
    (tmp_path / "gap.csv").write_text("\n".join(lines) + "\n")
    cells = [{"name": "mast", "trace": {"file": "gap.csv"}}]
    scenario = parse_scenario(tiny_yaml(cells=cells), where="file.yaml", folder=tmp_path)
    assert scenario.remarks == ("cells[0].trace.file: gap.csv: 1 gap without measurements cut out of it",)


def test_recorded_arrivals_that_go_backwards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("1\n5\n3\n")
    users = [group("cameras", 2, asking={"kind": "recorded", "file": "asked.csv"})]
    said = refusal(tiny_yaml(users=users), tmp_path)
    assert said.startswith("file.yaml: users[0].asking.file: ")
    assert "line 3: goes back in time by 2 s" in said


def test_a_policy_that_raises_is_named_with_time_and_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Control.handle

    def broken(control: Control, event: object, now_s: float) -> object:
        if isinstance(event, Tick) and now_s >= 3:
            raise ZeroDivisionError("no room")
        return handle(control, event, now_s)  # type: ignore[arg-type]

    monkeypatch.setattr(Control, "handle", broken)
    with pytest.raises(SimulationsError, match=r"^policy: at 3\.000 s, on Tick of detect@mast: ZeroDivisionError: no"):
        run(tiny(policy={"kind": "adaptive"}), replications=1)


def test_a_private_input_that_no_allowed_tier_may_see_is_refused_before_the_first_request() -> None:
    private = tiny_yaml()["pipelines"][0] | {"private": True}
    with pytest.raises(SimulationsError, match="detect@mast: no plan fits: privacy"):
        run(tiny(pipelines=[private], policy={"kind": "edge"}), replications=1)


def test_a_policy_for_a_tier_without_nodes_is_refused() -> None:
    broken = changed(tiny_yaml(policy={"kind": "cloud"}), "nodes.2.tier", "edge")
    assert refusal(broken).startswith("file.yaml: policy.kind: all is to run on tier cloud, of which there is no node")


def test_an_unknown_scenario_is_answered_with_those_that_are_ready_made() -> None:
    with pytest.raises(SpecError, match=r"^nowhere: no such file, and no ready-made scenario; these are city-centre, "):
        load_scenario("nowhere")


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tiny_file(tmp_path)
    path.write_text(path.read_text() + "duration_s: 9\n")
    with pytest.raises(SpecError, match=r"tiny\.yaml:\d+:1: key 'duration_s' is given twice"):
        load_scenario(path)
