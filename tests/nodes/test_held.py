"""Text and bfloat16, which numpy has no types for: on the wire, in engines, through workers and the gateway."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nodes.backend import Array, load_backend
from nodes.codec import pack, unpack
from nodes.errors import BadInput, EngineMissing, MalformedFrame
from nodes.framing import Frame, Header, TensorMeta, decode, encode
from nodes.held import as_held, held_as
from nodes.normalise import normalise
from nodes.profiler import profile_model
from orchestrator.blueprint import pose
from orchestrator.gateway.models import Given, Question, Reply
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.own_cluster import open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.cost import evaluate
from partitioner.load import load
from partitioner.topology import Link, Node, Tier, Topology

WORDS = as_held(np.array([["a", "ü", "elsewhere"]]))
BITS = np.array([[0x3F80, 0x4000, 0xC040]], np.uint16)  # 1, 2 and −3
TWICE = np.array([[0x4000, 0x4080, 0xC0C0]], np.uint16)
AT_HOME, AWAY = "here", "there"


def words_model(folder: Path) -> Path:
    """Text [1, 3] → the mean of the words' rows in a table, and the words again."""
    table = np.arange(16, dtype=np.float32).reshape(4, 4)
    keys = {"keys_strings": ["a", "b", "ü"], "values_int64s": [1, 2, 3], "default_int64": 0}
    nodes = [
        helper.make_node("LabelEncoder", ["words"], ["ids"], name="look_up", domain="ai.onnx.ml", **keys),
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows_of"),
        helper.make_node("ReduceMean", ["rows"], ["y"], axes=[1], keepdims=0, name="mean"),
        helper.make_node("Identity", ["words"], ["again"], name="say_again"),
    ]
    info = helper.make_tensor_value_info
    ends = [info("y", TensorProto.FLOAT, [1, 4]), info("again", TensorProto.STRING, [1, 3])]
    given = [info("words", TensorProto.STRING, [1, 3])]
    graph = helper.make_graph(nodes, "words", given, ends, [numpy_helper.from_array(table, "table")])
    return saved(graph, folder / "words.onnx")


def bits_model(folder: Path) -> Path:
    """bfloat16 [1, 3] → twice that."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT, name="widen"),
        helper.make_node("Add", ["wide", "wide"], ["sum"], name="add"),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.BFLOAT16, name="narrow"),
    ]
    info = helper.make_tensor_value_info
    ends = [[info(name, TensorProto.BFLOAT16, [1, 3])] for name in "xy"]
    return saved(helper.make_graph(nodes, "bits", *ends), folder / "bits.onnx")


def saved(graph: onnx.GraphProto, path: Path) -> Path:
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return normalise(helper.make_model(graph, opset_imports=domains, ir_version=9)).save(path)


def test_text_goes_over_the_wire_as_it_is() -> None:
    odd = np.array([[b"", b"\xff\x00", "ü".encode()]], np.object_)
    frame = decode(encode(pack(Header(), {"t": odd, "x": BITS}, {"t": "int8+zstd"}, {"x": "bfloat16"})))
    assert [(meta.name, meta.dtype, meta.codec) for meta in frame.header.tensors] == [
        ("t", "string", "raw"), ("x", "bfloat16", "raw"),
    ]  # fmt: skip
    found = unpack(frame)
    assert found["t"].tolist() == odd.tolist()
    assert found["x"].tolist() == BITS.tolist()


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        *(((2,), b"\1\0\0\0a"), ((1,), b"\2\0\0\0a"), ((1,), b"\1\0\0\0ab"), ((1,), b"")),
        *(((1 << 40,), b""), ((1 << 62, 1 << 62, 0), b""), ((64 << 20,), b"0000")),
    ],
)
def test_text_that_is_not_as_many_elements_is_refused_by_name(shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(MalformedFrame, match="tensor 't'"):
        unpack(Frame(Header(tensors=(TensorMeta("t", "string", shape, nbytes=len(data)),)), (data,)))


def test_an_engine_reads_and_writes_text(tmp_path: Path) -> None:
    session = load_backend("onnxruntime").compile(words_model(tmp_path))
    made = session.run({"words": WORDS})
    assert (
        made["y"].tolist()
        == np.array([[4, 5, 6, 7], [12, 13, 14, 15], [0, 1, 2, 3]], np.float32).mean(0)[None].tolist()
    )
    assert made["again"].tolist() == WORDS.tolist()
    with pytest.raises(BadInput, match="'words': element 1 is no UTF-8"):
        session.run({"words": np.array([[b"a", b"\xff", b"b"]], np.object_)})


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tvm"])
def test_engines_read_and_write_bfloat16_as_its_bits(name: str, tmp_path: Path) -> None:
    try:
        backend = load_backend(name)
    except EngineMissing as missing:
        pytest.skip(str(missing))
    session = backend.compile(bits_model(tmp_path))
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"bfloat16"}
    for offset in range(3):  # wherever in memory it begins
        memory = np.zeros(64, np.uint16)
        begin = -(memory.ctypes.data // 2) % 32 + offset
        given = memory[begin : begin + 3].reshape(1, 3)
        given[:] = BITS
        made = session.run({"x": given})["y"]
        assert (made.dtype, made.tolist()) == (held_as("bfloat16"), TWICE.tolist())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "datatype", "given", "wanted"),
    [
        (words_model, "BYTES", {"words": WORDS}, {"again": WORDS}),
        (bits_model, "BF16", {"x": BITS}, {"y": TWICE}),
    ],
)
def test_a_split_model_answers_clients_of_the_gateway(
    build: object, datatype: str, given: Mapping[str, Array], wanted: Mapping[str, Array], tmp_path: Path
) -> None:
    path = build(tmp_path)  # type: ignore[operator]

    async def story() -> Reply:
        nodes = [Node(name=name, tier=Tier.CLOUD, backends=("onnxruntime",)) for name in (AT_HOME, AWAY)]
        ends = ((AT_HOME, AWAY), (AWAY, AT_HOME))
        links = tuple(Link(source=a, target=b, bytes_per_s=1e9, propagation_s=1e-5) for a, b in ends)
        topology = Topology(tuple(nodes), links)
        async with open_cluster(topology, AT_HOME) as cluster:
            model = load(path)
            inputs = tuple(InputSpec(name=name, at=AT_HOME) for name in model.graph.inputs)
            spec = DeploymentSpec(name="m", model=path, topology=topology, source=AT_HOME, inputs=inputs)
            engines = cluster.fleet.engines(topology)
            profile = await asyncio.to_thread(profile_model, path, engines[AT_HOME])
            problem = pose(spec, model, profile, engines)
            operators = len(model.graph.operators)
            sites = [problem.sites[0]] * 1 + [problem.sites[1]] * (operators - 1)
            await cluster.deploy("m", evaluate(problem, sites), model)
            asked = tuple(
                Given(name=name, datatype=datatype, shape=array.shape, read=lambda array=array: array)
                for name, array in given.items()
            )
            serving = Serving(RouterSource(cluster.router))
            return await serving.infer("m", "", lambda: Question(inputs=asked), lambda reply: reply)

    outputs = {output.name: output for output in asyncio.run(story()).outputs}
    for name, array in wanted.items():
        assert (outputs[name].datatype, outputs[name].array.tolist()) == (datatype, array.tolist())
