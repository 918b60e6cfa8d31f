"""Claims about replicas in plans, specs, prices, routes and frames."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.actions import Cancel, Send
from orchestrator.blueprint import Blueprint
from orchestrator.errors import SpecError
from orchestrator.plan_map import same_work, weights_by_node
from orchestrator.replicas import alike, bare, crews_of, manned, same_crews, without
from orchestrator.replicas_routing import Crew
from orchestrator.router_frames import Sent, cancel_frame, inputs_frame
from orchestrator.routes import EpochRoutes, Reach
from orchestrator.spec import DeploymentSpec, load_spec
from orchestrator.wishes import room_of
from partitioner.plan import Plan
from partitioner.topology import Link, Topology
from tests.builders import plan_on
from tests.orchestrator.small_site import blueprint_of, site

PLAIN = plan_on("camera", "cloud")
TWINS = manned(PLAIN, {"s1": ("cloud", "twin")})
ROUTES = EpochRoutes(
    deployment="d",
    epoch=3,
    source="camera",
    stages=(("s0", Reach(node="cloud", address="c:1")), ("s1", Reach(node="mec", address="m:1"))),
    inputs=(),
    codecs={},
    outputs=("y",),
    replicas={"s0": (Reach(node="twin", address="t:1"),)},
    seconds={"s0": 0.2, "s1": 0.1},
)


def test_without_a_node_its_stages_run_on_the_others_and_messages_go_there() -> None:
    left = without(TWINS, ["cloud"])
    assert crews_of(left) == (("camera",), ("twin",))
    assert [(one.source, one.target) for one in left.crossings] == [
        ("camera", "camera"), ("camera", "twin"), ("twin", "camera"),
    ]  # fmt: skip
    assert without(TWINS, ["cloud", "twin"]) == TWINS  # nobody would be left
    assert without(PLAIN, ["cloud"]) is PLAIN


def test_plans_are_alike_whichever_of_a_stages_nodes_comes_first() -> None:
    assert alike(TWINS, without(TWINS, ["cloud"])) and alike(TWINS, PLAIN) and same_work(TWINS, PLAIN)
    assert not alike(PLAIN, plan_on("camera", "twin"))
    assert same_crews(TWINS, manned(PLAIN, {"s1": ("twin", "cloud")})) and not same_crews(TWINS, PLAIN)
    assert bare(TWINS) == PLAIN


def test_each_replica_holds_the_weights() -> None:
    assert weights_by_node(TWINS) == {"camera": 100, "cloud": 100, "twin": 100}


def test_the_core_knows_of_every_stages_nodes_only_where_one_has_replicas() -> None:
    known = ROUTES.known()
    crews = (Crew(stage="s0", nodes=("cloud", "twin"), seconds=0.2), Crew(stage="s1", nodes=("mec",), seconds=0.1))
    assert (known.crews, known.nodes) == (crews, ("cloud", "mec", "twin"))
    assert replace(ROUTES, replicas={}).known().crews == ()


def test_a_frame_begins_at_the_replica_chosen_and_carries_the_rest_of_its_way() -> None:
    way = ("twin", "mec")
    assert (ROUTES.begin(way).address, ROUTES.begin(()).address) == ("t:1", "c:1")
    send = Send(request="r", attempt=1, epoch=3, budget_s=1.0, way=way)
    assert inputs_frame(ROUTES, send, {}, Sent("o")).header.way == ("mec",)
    assert cancel_frame(ROUTES, Cancel(request="r", attempt=1, epoch=3, way=way)).header.way == ("mec",)


def test_an_epochs_workers_stay_those_that_loaded_it() -> None:
    returned = replace(ROUTES, replicas={"s0": (Reach(node="twin", address="t:2"),)})
    assert returned.as_held(ROUTES).begin(("twin", "mec")).address == "t:1"
    assert returned.as_held(None) is returned
    plain = replace(ROUTES, replicas={})
    assert returned.as_held(plain) is returned


def twins() -> Topology:
    """Camera, cloud and its twin, all linked."""
    plain = site()
    cloud = plain.node("cloud")
    ends = (("camera", "cloud"), ("camera", "twin"), ("cloud", "twin"))
    there = [Link(source=a, target=b, bytes_per_s=1e6, propagation_s=1e-4) for a, b in ends]
    back = [replace(link, source=link.target, target=link.source) for link in there]
    return Topology((plain.node("camera"), cloud, replace(cloud, name="twin")), (*there, *back))


def asked(folder: Path, objective: str, most: int) -> Blueprint:
    blueprint = blueprint_of(folder, twins())
    return replace(blueprint, spec=replace(blueprint.spec, objective=objective, most_replicas=most))


def test_for_throughput_the_plan_has_the_replicas_itself(tmp_path: Path) -> None:
    plan = asked(tmp_path, "throughput", 2).find()
    assert isinstance(plan, Plan) and ("cloud", "twin") in crews_of(plan)
    alone = asked(tmp_path, "throughput", 1).find()
    assert isinstance(alone, Plan) and bare(alone) == alone


def test_for_latency_the_plan_has_none_and_the_load_decides(tmp_path: Path) -> None:
    blueprint = asked(tmp_path, "latency", 2)
    plan = blueprint.find()
    assert isinstance(plan, Plan) and bare(plan) == plan
    assert {room.node: (room.most_replicas, room.sharers) for room in room_of(blueprint.spec)} == {
        "camera": (2, ()),
        "cloud": (2, (("onnxruntime", "twin"),)),
        "twin": (2, (("onnxruntime", "cloud"),)),
    }
    assert room_of(asked(tmp_path, "throughput", 2).spec) == ()  # nothing stands by there, and nothing scales


def test_a_plan_with_replicas_is_priced_by_what_they_do_together(tmp_path: Path) -> None:
    blueprint = asked(tmp_path, "throughput", 2)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    assert blueprint.price(plan, []) == pytest.approx(1 / plan.predicted.throughput_per_s)
    assert blueprint.price(without(plan, ["twin"]), []) > 1.5 * blueprint.price(plan, [])


def test_a_fixed_plan_with_replicas_is_another_wish(tmp_path: Path) -> None:
    blueprint = asked(tmp_path, "throughput", 2)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    assert replace(blueprint, fixed=plan).digest != replace(blueprint, fixed=bare(plan)).digest


TOPOLOGY = """
nodes:
  - {name: camera, tier: device, backends: [onnxruntime]}
  - {name: mec1, tier: edge, backends: [openvino, onnxruntime]}
  - {name: mec2, tier: edge, backends: [openvino, onnxruntime]}
  - {name: cloud, tier: cloud, backends: [tensorrt]}
links:
  - {from: camera, to: mec1, goodput_mbps: 40, rtt_ms: 8}
  - {from: camera, to: mec2, goodput_mbps: 40, rtt_ms: 8}
  - {from: mec1, to: mec2, goodput_mbps: 400, rtt_ms: 1}
  - {from: mec1, to: cloud, goodput_mbps: 400, rtt_ms: 20}
"""


def read(tmp_path: Path, more: str) -> DeploymentSpec:
    (tmp_path / "t.yaml").write_text(TOPOLOGY)
    (tmp_path / "m.onnx").write_bytes(b"")
    text = f"name: n\nmodel: m.onnx\ntopology: t.yaml\ninputs: {{x: {{at: camera}}}}\n{more}\n"
    (tmp_path / "s.yaml").write_text(text)
    return load_spec(tmp_path / "s.yaml")


def test_a_spec_says_on_how_many_nodes_a_stage_may_run(tmp_path: Path) -> None:
    assert read(tmp_path, "replicas: {max: 2}").most_replicas == 2
    assert (read(tmp_path, "").most_replicas, read(tmp_path, "replicas: {max: 1}").most_replicas) == (1, 1)


def test_a_spec_without_replicas_keeps_its_digest(tmp_path: Path) -> None:
    assert read(tmp_path, "").digest == read(tmp_path, "replicas:").digest
    assert read(tmp_path, "").digest != read(tmp_path, "replicas: {max: 2}").digest


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("replicas: {max: 3}", "replicas.max: 3, while at most 2 nodes can share a stage; give no more than that"),
        ("replicas: {max: 0}", "replicas.max: should be greater than or equal to 1, is 0"),
        ("replicas: {max: 17}", "replicas.max: should be less than or equal to 16, is 17"),
        ("replicas: {most: 2}", "replicas.most: unknown key"),
        ("replicas: 2", "replicas: should be keys and values, not int 2"),
        (
            "replicas: {max: 2}\nobjective: throughput\nlimits: {latency_ms: 5}",
            "replicas.max: 2: replicas for throughput are planned forward only and without limits",
        ),
        ("replicas: {max: 2}\npinned: {a: mec1, b: mec2}", "replicas.max: 2, while no two nodes can share a stage"),
    ],
)
def test_replicas_that_make_no_sense_are_refused_by_name(tmp_path: Path, more: str, line: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(tmp_path, more)
    assert str(refused.value).removeprefix(f"{tmp_path}/s.yaml: ").startswith(line)
