"""Plans on real workers over real streams: whatever the cut, the answer is the whole model's."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.normalise import normalise
from orchestrator.answers import Answer
from orchestrator.blueprint import pose
from orchestrator.own_cluster import open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.cost import evaluate
from partitioner.load import Model, load
from partitioner.plan import Plan
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.topology import Link, Node, Tier, Topology

pytestmark = pytest.mark.slow
KEY = EngineKey(node_class="here", backend="onnxruntime")
A, B = "a", "b"
CHAINS = ("aaaaa", "bbbbb", "aabbb", "aaaab", "abbbb", "abaab", "babab", "aabba")  # the node of each operator
BRANCHES = ("||aaaaa", "||bbbbb", "||abbab", "||aabab", "||babab", "||abaab", "||abaaa")  # side by side
PLACEMENTS = CHAINS + BRANCHES
X: Array = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
SITE = Topology(
    (
        Node(name=A, tier=Tier.DEVICE, backends=("onnxruntime",)),
        Node(name=B, tier=Tier.CLOUD, backends=("onnxruntime",)),
    ),
    (
        Link(source=A, target=B, bytes_per_s=1e8, propagation_s=1e-4),
        Link(source=B, target=A, bytes_per_s=1e8, propagation_s=1e-4),
    ),
)


def model() -> onnx.ModelProto:
    """x → h0 → … → h3: h0 is read by three operators, `early` is an output made mid-graph, `w` serves twice."""
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h0"], "first"),
        helper.make_node("Tanh", ["h0"], ["early"], "second"),
        helper.make_node("MatMul", ["early", "w"], ["h2"], "third"),
        helper.make_node("Sub", ["h2", "h0"], ["h3"], "fourth"),
        helper.make_node("Mul", ["h3", "h0"], ["late"], "fifth"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 8]) for name in ("x", "early", "late")]
    graph = helper.make_graph(nodes, "served", ends[:1], ends[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def planned(loaded: Model, nodes: Sequence[str]) -> Plan:
    """The plan that runs operator i on nodes[i]."""
    operators = {operator.name: 1e-4 for operator in loaded.graph.operators}
    profile = Profile(model=loaded.sha256, engines={KEY: EngineProfile(operator_s=operators)})
    spec = DeploymentSpec(
        name="served", model=Path("served"), topology=SITE, source=A, inputs=(InputSpec(name="x", at=A),)
    )
    if nodes[0] == "|":
        spec, nodes = replace(spec, parallel=True), nodes[2:]
    problem = pose(spec, loaded, profile, {A: (KEY,), B: (KEY,)})
    at = {site.node: site for site in problem.sites}
    return evaluate(problem, [at[node] for node in nodes])


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Array] | BaseException]:
    """What each placement answers over real workers: tensors, or the error; and "unfit" for tensors that don't fit."""
    loaded = load(normalise(model()).proto)

    async def ask() -> list[Answer | BaseException]:
        async with open_cluster(SITE, A) as cluster:
            for nodes in PLACEMENTS:
                await cluster.deploy(nodes, planned(loaded, nodes), loaded)
            asked = [cluster.router.infer(nodes, {"x": X}) for nodes in PLACEMENTS]
            unfit = {"x": X.astype(np.float64), "surplus": X}
            return await asyncio.gather(*asked, cluster.router.infer(PLACEMENTS[0], unfit), return_exceptions=True)

    told = zip((*PLACEMENTS, "unfit"), asyncio.run(ask()), strict=True)
    return {name: answer.outputs if isinstance(answer, Answer) else answer for name, answer in told}


def whole(x: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model().SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(("early", "late"), session.run(["early", "late"], {"x": x}), strict=True))


@pytest.mark.parametrize("nodes", PLACEMENTS)
def test_every_placement_answers_as_the_whole_model(
    answers: dict[str, dict[str, Array] | BaseException], nodes: str
) -> None:
    outputs = answers[nodes]
    assert isinstance(outputs, dict), outputs
    for name, expected in whole(X).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


def test_a_node_left_and_entered_again_holds_two_stages() -> None:
    plan = planned(load(normalise(model()).proto), "abaab")
    assert [stage.node for stage in plan.stages] == [A, B, A, B]


def test_tensors_that_do_not_fit_are_all_named_at_once(answers: dict[str, dict[str, Array] | BaseException]) -> None:
    refusal = answers["unfit"]
    assert isinstance(refusal, BadInput)
    assert "x is float64, wants float32" in str(refusal)
    assert "surplus is not an input" in str(refusal)
