"""`isthmus plan` with a profile from a file: the plan, and the atlas over a link's goodput."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from isthmus.question import Question
from orchestrator.model_file import prepare
from orchestrator.profile_file import save_profile
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.isthmus.conftest import Ended, Isthmus
from tests.isthmus.given import CAMERA, CLOUD, model_file, topology_file


@pytest.fixture
def asked(tmp_path: Path) -> tuple[object, ...]:
    """`plan` of a small model that a slow camera should hand to the cloud, over all but the slowest links."""
    nodes = [CAMERA | {"slowdown": 50, "active_w": 1, "usd_per_hour": 0}, CLOUD | {"active_w": 500}]
    topology, model = topology_file(tmp_path, nodes=nodes), model_file(tmp_path)
    ready = prepare(Question(model=model, topology=topology).spec())
    key = EngineKey(node_class="any", backend="onnxruntime")
    seconds = dict.fromkeys((operator.name for operator in load(ready.path).graph.operators), 1e-3)
    path = tmp_path / "profile.json"
    save_profile(Profile(model=ready.sha256, engines={key: EngineProfile(operator_s=seconds)}), path)
    return ("plan", model, "-T", topology, "--profile", path)


def test_an_atlas_goes_from_the_camera_alone_to_the_cloud_alone(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    ended = isthmus(*asked, "--atlas", "camera:cloud:0.0001:1000", "--json")
    told = json.loads(ended.out)
    nodes = [[stage["node"] for stage in entry["plan"]["stages"]] for entry in told["entries"]]
    assert (nodes[0], nodes[-1]) == (["camera"], ["cloud"])
    assert told["link"] == ["camera", "cloud"]
    assert told["gap"] == 0.0
    rate = told["entries"][1]["from_bytes_per_s"]
    first_s, second_s = (entry["fixed_s"] + entry["link_bytes"] / rate for entry in told["entries"][:2])
    assert first_s == pytest.approx(second_s, rel=1e-6)


def test_an_atlas_for_people_has_a_line_for_each_plan(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    ended = isthmus(*asked, "--atlas", "camera:cloud:0.0001:1000")
    assert ended.code == 0
    assert "camera → cloud, proven" in ended.out
    assert ended.out.splitlines()[-1].split()[1:4] == ["Mbps", "cloud", "2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("camera", "--atlas camera: should be SOURCE:TARGET"),
        ("camera:cloud:1", "should be SOURCE:TARGET, or SOURCE:TARGET:LOW:HIGH"),
        ("camera:cloud:slow:fast", "with goodputs in Mbps"),
        ("camera:moon", "no link camera → moon in the topology; there is camera → cloud"),
        ("camera:cloud:9:1", "the goodputs should be above 0 and ascend, in Mbps"),
    ],
)
def test_an_atlas_of_nothing_is_refused(isthmus: Isthmus, asked: tuple[object, ...], text: str, told: str) -> None:
    ended = isthmus(*asked, "--atlas", text)
    assert ended.code == 1
    assert told in ended.line


def plan_of(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_the_objective_decides_and_is_certified(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    soon, often = (plan_of(isthmus(*asked, "--objective", name, "--json")) for name in ("latency", "throughput"))
    assert [stage["node"] for stage in soon["stages"]] == ["cloud"]
    assert (soon["certificate"]["objective"], often["certificate"]["objective"]) == ("latency", "throughput")
    assert often["predicted"]["throughput_per_s"] >= soon["predicted"]["throughput_per_s"]


def test_a_deadline_below_any_plan_names_what_is_possible(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    ended = isthmus(*asked, "--deadline-ms", "0.5")
    assert ended.code == 1
    assert "no plan fits: latency: an answer within 0.5 ms is asked for; no plan takes less than" in ended.line


def test_energy_without_the_watts_of_a_link_is_refused_by_its_name(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    ended = isthmus(*asked, "--objective", "energy")
    assert ended.code == 1
    assert "link camera → cloud has no j_per_mb" in ended.line


def test_a_pinned_operator_runs_where_it_is_pinned(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    names = [name for stage in plan_of(isthmus(*asked, "--json"))["stages"] for name in stage["operators"]]
    pinned = plan_of(isthmus(*asked, "--pin", f"{names[0]}=camera", "--json"))
    assert pinned["stages"][0]["node"] == "camera" and names[0] in pinned["stages"][0]["operators"]
    together = plan_of(isthmus(*asked, "--pin", f"{names[0]}=camera", "--together", ",".join(names), "--json"))
    assert [stage["node"] for stage in together["stages"]] == ["camera"]


def test_a_front_is_listed_from_the_best_by_its_first_objective(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    told = plan_of(isthmus(*asked, "--pareto", "latency,throughput", "--json"))
    late = [plan["predicted"]["latency_s"] for plan in told["plans"]]
    assert told["objectives"] == ["latency", "throughput"] and late == sorted(late)
    assert "front" in isthmus(*asked, "--pareto", "latency,throughput").out


def test_explain_names_the_next_best_plans_and_their_cost(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    told = plan_of(isthmus(*asked, "--explain", "--json"))
    changes = [one["change"] for one in told["alternatives"]]
    assert any(change.startswith("all on camera") for change in changes)
    assert min(one["score"] for one in told["alternatives"]) >= told["predicted"]["latency_s"]
    shown = isthmus(*asked, "--explain").out
    assert "instead" in shown and "all on camera" in shown


def test_the_latency_at_a_load_counts_the_queues(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    idle, busy = (plan_of(isthmus(*asked, "--load", rate, "--json")) for rate in ("1", "400"))
    assert busy["loaded"]["latency_s"] > idle["loaded"]["latency_s"] > idle["predicted"]["latency_s"]
    assert 0.5 < max(busy["loaded"]["utilisation"].values()) < 1
    assert "at 400 requests/s: " in isthmus(*asked, "--load", "400").out
    refused = isthmus(*asked, "--load", "1", "--objective", "throughput")
    assert refused.code == 1 and "--load asks for the latency with its queues" in refused.line


def test_a_plot_is_an_svg_of_the_plan_and_the_goodputs(
    isthmus: Isthmus, asked: tuple[object, ...], tmp_path: Path
) -> None:
    ended = isthmus(*asked, "--plot", tmp_path / "plan.svg")
    assert ended.code == 0
    words = " ".join("".join(one.itertext()) for one in ElementTree.parse(tmp_path / "plan.svg").iter())
    assert "cloud" in words and "Mbps" in words
    refused = isthmus(*asked, "--plot", tmp_path / "no" / "plan.svg")
    assert refused.code == 1 and "cannot write" in refused.line


def test_a_profile_that_knows_no_codecs_is_said_to(isthmus: Isthmus, asked: tuple[object, ...]) -> None:
    ended = isthmus(*asked, "--max-error", "0.1", "--json")
    assert plan_of(ended)["predicted"]["error"] == 0
    assert "knows nothing of codecs, so all goes raw; profile with --max-error 0.1" in ended.err
