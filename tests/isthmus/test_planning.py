"""load_model and plan_for: a file in, a certified plan out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus import Limits, load_model, plan_for
from orchestrator.errors import SpecError
from partitioner.errors import InvalidModel, InvalidProblem
from partitioner.plan import Infeasible, Plan
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Link, Node, Tier, Topology

ORT = ("onnxruntime",)


def two_layers(folder: Path, columns: int | str = 4096) -> Path:
    """x[1, columns] → narrow[1, 4] → y[1, 4096]: worth cutting in the middle."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4096, 4)).astype(np.float32), "w1"),
        numpy_helper.from_array(rng.normal(size=(4, 64)).astype(np.float32), "w2"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["narrow"], "first"),
        helper.make_node("MatMul", ["narrow", "w2"], ["y"], "second"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, columns])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])
    graph = helper.make_graph(nodes, "two", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "two.onnx")
    return folder / "two.onnx"


def camera_and_cloud(bytes_per_s: float = 1e6) -> Topology:
    ends = (("camera", "cloud"), ("cloud", "camera"))
    return Topology(
        nodes=(
            Node(name="cloud", tier=Tier.CLOUD, backends=ORT),
            Node(name="camera", tier=Tier.DEVICE, backends=ORT, slowdown=10),
        ),
        links=tuple(Link(source=a, target=b, bytes_per_s=bytes_per_s, propagation_s=1e-4) for a, b in ends),
    )


def seconds(first: float, second: float) -> Profile:
    key = EngineKey(node_class="any", backend="onnxruntime")
    return Profile(model="two", engines={key: EngineProfile(operator_s={"first": first, "second": second})})


def test_a_plan_splits_where_the_narrow_tensor_is(tmp_path: Path) -> None:
    plan = plan_for(two_layers(tmp_path), camera_and_cloud(), profile=seconds(1e-4, 1e-2))
    assert isinstance(plan, Plan)
    assert [(stage.node, stage.operators) for stage in plan.stages] == [("camera", ("first",)), ("cloud", ("second",))]
    assert plan.certificate is not None and plan.certificate.status == "optimal"


def test_a_plan_keeps_pins_groups_and_limits_or_says_which_binds(tmp_path: Path) -> None:
    model, profile = two_layers(tmp_path), seconds(1e-4, 1e-2)
    joined = plan_for(model, camera_and_cloud(), profile=profile, together=(("first", "second"),))
    pinned = plan_for(model, camera_and_cloud(), profile=profile, pinned={"first": "cloud"}, objective="throughput")
    assert isinstance(joined, Plan) and len(joined.stages) == 1
    assert isinstance(pinned, Plan) and [stage.node for stage in pinned.stages] == ["cloud"]
    late = plan_for(model, camera_and_cloud(), profile=profile, limits=Limits(latency_s=1e-3))
    assert isinstance(late, Infeasible) and late.constraint == "latency"


def test_inputs_appear_on_the_lowest_tier_unless_told_otherwise(tmp_path: Path) -> None:
    model = load_model(two_layers(tmp_path))
    plan = plan_for(model, camera_and_cloud(), profile=seconds(1e-4, 1e-2), source="cloud", outputs_to="cloud")
    assert isinstance(plan, Plan)
    assert {stage.node for stage in plan.stages} == {"cloud"}


def test_a_profile_of_other_engines_is_refused_with_those_wanted(tmp_path: Path) -> None:
    other = EngineKey(node_class="any", backend="onnxruntime", threads=4)
    profile = Profile(model="two", engines={other: EngineProfile(operator_s={})})
    with pytest.raises(
        InvalidProblem, match="it has onnxruntime with 4 threads; profile again with onnxruntime with 1"
    ):
        plan_for(two_layers(tmp_path), camera_and_cloud(), profile=profile)


def test_a_private_input_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="z"):
        plan_for(two_layers(tmp_path), camera_and_cloud(), profile=seconds(1, 1), private=("z",))


def test_an_open_shape_is_fixed_by_the_shape_given(tmp_path: Path) -> None:
    path = two_layers(tmp_path, "columns")
    with pytest.raises(InvalidModel, match="x"):
        load_model(path)
    assert load_model(path, {"x": (1, 4096)}).graph.activations["x"].shape == (1, 4096)


@pytest.mark.slow
def test_without_a_profile_the_model_is_measured_here(tmp_path: Path) -> None:
    plan = plan_for(two_layers(tmp_path), camera_and_cloud(bytes_per_s=1e3))
    assert isinstance(plan, Plan)
    assert {stage.node for stage in plan.stages} == {"camera"}
    assert plan.predicted.latency_s > 0
