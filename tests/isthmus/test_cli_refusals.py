"""Bad input on the command line: one clear line that names the thing and the way out, before any cluster is started."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from isthmus.question import Question
from orchestrator.model_file import prepare
from orchestrator.profile_file import save_profile
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.isthmus.conftest import Isthmus
from tests.isthmus.given import CAMERA, CLOUD, UPLINK, model_file, spec_file, topology_file
from tests.nodes.onnx_models import dense, info, model_of, node


def twice_defined() -> onnx.ModelProto:
    nodes = [node("Relu", ["x"], ["y"], "one"), node("Abs", ["x"], ["y"], "other")]
    return model_of(nodes, [info("x", 1, 8)], [info("y", 1, 8)])


def unheard_of() -> onnx.ModelProto:
    return model_of(
        [node("Frobnicate", ["x"], ["y"], "odd", domain="acme")], [info("x", 1, 8)], [info("y", 1, 8)], domains=["acme"]
    )


def every_verb(folder: Path, model: Path) -> list[tuple[Any, ...]]:
    topology = topology_file(folder)
    spec = spec_file(folder, model, topology)
    return [("deploy", spec), ("run", spec), ("run", model), ("plan", model, "-T", topology), ("profile", model)]


@pytest.mark.parametrize("verb", range(5))
def test_what_is_no_onnx_file_is_named(isthmus: Isthmus, tmp_path: Path, verb: int) -> None:
    model = tmp_path / "photo.jpg"
    model.write_bytes(b"\xff\xd8\xff\xe0 not a model")
    ended = isthmus(*every_verb(tmp_path, model)[verb])
    assert ended.code == 1
    assert "photo.jpg is not an ONNX file" in ended.line


@pytest.mark.parametrize("verb", range(5))
def test_a_name_defined_twice_is_named(isthmus: Isthmus, tmp_path: Path, verb: int) -> None:
    ended = isthmus(*every_verb(tmp_path, model_file(tmp_path, twice_defined()))[verb])
    assert ended.code == 1
    assert "the name 'y' is defined twice" in ended.line


@pytest.mark.parametrize("verb", range(5))
def test_an_open_shape_names_the_option_that_gives_it(isthmus: Isthmus, tmp_path: Path, verb: int) -> None:
    ended = isthmus(*every_verb(tmp_path, model_file(tmp_path, dense("batch")))[verb])
    assert ended.code == 1
    assert "'x'" in ended.line and "--shape x=" in ended.line


@pytest.mark.parametrize("verb", range(5))
def test_an_operator_that_no_engine_knows_is_named(isthmus: Isthmus, tmp_path: Path, verb: int) -> None:
    ended = isthmus(*every_verb(tmp_path, model_file(tmp_path, unheard_of()))[verb])
    assert ended.code == 1
    assert "Frobnicate" in ended.line and "odd" in ended.line


@pytest.mark.parametrize(
    ("nodes", "links", "named", "way_out"),
    [
        ([CAMERA, CLOUD], [UPLINK | {"to": "moon"}], "links[0].to: no node 'moon'", "nodes are camera, cloud"),
        ([CAMERA, CLOUD], [UPLINK | {"goodput_mbps": 0}], "links[0].goodput_mbps", "greater than 0"),
        ([CAMERA, CLOUD], [UPLINK | {"goodput_mbps": -5}], "links[0].goodput_mbps", "greater than 0"),
        ([CAMERA, CAMERA], [], "nodes[1].name: node 'camera' is listed twice", "give each node its own name"),
        ([CAMERA, CLOUD], [], "no path leads from camera to cloud", "add a link or remove the node"),
        ([CAMERA | {"memroy_mb": 5}], [], "nodes[0].memroy_mb: unknown key", "did you mean 'memory_mb'?"),
    ],
)
def test_a_topology_that_contradicts_itself_is_refused_where_it_does(
    isthmus: Isthmus, tmp_path: Path, nodes: list[Any], links: list[Any], named: str, way_out: str
) -> None:
    topology = topology_file(tmp_path, nodes=nodes, links=links)
    ended = isthmus("deploy", spec_file(tmp_path, model_file(tmp_path), topology))
    assert ended.code == 1
    assert ended.line.startswith(f"{topology}: ")
    assert named in ended.line and way_out in ended.line


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"max_eror": 0.1}, "max_eror: unknown key; did you mean 'max_error'?"),
        ({"inputs": {"z": {"at": "camera"}}}, "inputs.z: model.onnx has no such input; it has x"),
        ({"inputs": {"x": {"at": "camera", "dtype": "int64"}}}, "inputs.x.dtype: int64, but model.onnx takes float32"),
        ({"outputs": {"z": {"to": "camera"}}}, "outputs.z: model.onnx has no such output; it has y, hidden"),
        ({"model": "absent.onnx"}, "absent.onnx; paths are relative to the spec's folder"),
    ],
)
def test_a_spec_that_does_not_fit_its_model_is_refused(
    isthmus: Isthmus, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    ended = isthmus("deploy", spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path), **changed))
    assert ended.code == 1
    assert told in ended.line


def test_a_node_without_any_installed_engine_is_named(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.backend.installed_backends", lambda: ("openvino",))
    ended = isthmus("deploy", spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path)))
    assert ended.code == 1
    assert "node camera: none of its backends (onnxruntime) is installed here" in ended.line


def test_weights_above_every_nodes_memory_are_refused_with_both_figures(isthmus: Isthmus, tmp_path: Path) -> None:
    small = [node | {"memory_mb": 0.0001} for node in (CAMERA, CLOUD)]
    topology, model = topology_file(tmp_path, nodes=small), model_file(tmp_path)
    ready = prepare(Question(model=model, topology=topology).spec())
    key = EngineKey(node_class="any", backend="onnxruntime")
    seconds = dict.fromkeys((operator.name for operator in load(ready.path).graph.operators), 1e-3)
    save_profile(Profile(model=ready.sha256, engines={key: EngineProfile(operator_s=seconds)}), tmp_path / "p.json")
    ended = isthmus("plan", model, "-T", topology, "--profile", tmp_path / "p.json")
    assert ended.code == 1
    assert "memory: operator 'project' alone has 128 bytes of weights; no node holds more than 100" in ended.line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shape", "x=one,8"), "--shape x=one,8: should be numbers such as 1,3,224,224"),
        (("--shape", "z=1,8"), "has no input 'z'; it has x"),
        (("--shape", "1,8"), "--shape 1,8: should be NAME=VALUE"),
        (("--source", "moon"), "no node 'moon'"),
        (("--private", "z"), "has no input 'z'; it has x"),
        (("--samples", "x=absent.npy"), "absent.npy"),
        (("--objective", "joy"), "no objective 'joy'; there are latency, throughput, energy, cost"),
        (("--private", "x@cloud"), "--private x@cloud: a tier is device or edge, as in x@edge"),
        (("--pin", "a=moon"), "--pin a=moon: no node 'moon'; nodes are camera, cloud"),
        (("--pin", "a"), "--pin a: should be NAME=VALUE"),
        (("--together", "a"), "--together a: should name two different operators or more, as A,B"),
        (("--together", "a,a"), "--together a,a: should name two different operators or more, as A,B"),
        (("--pin", "a=camera", "--pin", "a=cloud"), "a is pinned to camera and to cloud; keep one"),
        (("--max-error", "-1"), "--max-error -1: should be from 0 to 1"),
        (("--max-error", "nan"), "--max-error nan: should be from 0 to 1"),
        (("--plot", "plan.png"), "--plot plan.png: an SVG is drawn; name a file that ends in .svg"),
        (("--profile", "absent.json"), "cannot read absent.json"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    isthmus: Isthmus, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    ended = isthmus("plan", model_file(tmp_path), "-T", topology_file(tmp_path), *arguments)
    assert ended.code == 1
    assert told in ended.line


def test_wrong_usage_exits_2(isthmus: Isthmus) -> None:
    assert isthmus("deploy").code == 2
    assert isthmus("deploy", "spec.yaml", "--no-such-option").code == 2
    assert isthmus("frobnicate").code == 2


@pytest.mark.parametrize("verb", [("status",), ("delete", "x"), ("logs", "x"), ("infer", "x", "--input", "x.npy")])
def test_without_a_cluster_the_way_to_one_is_told(isthmus: Isthmus, verb: tuple[str, ...]) -> None:
    ended = isthmus(*verb)
    assert ended.code == 1
    assert "nothing runs on this machine; start with: isthmus deploy SPEC, or give --address" in ended.line


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port"])
def test_an_address_without_a_ray_is_named(isthmus: Isthmus, address: str) -> None:
    ended = isthmus("status", "--address", address)
    assert ended.code == 1
    assert f"no Ray at {address}" in ended.line and "ray start --head" in ended.line


def test_a_token_file_that_is_not_there_is_named(isthmus: Isthmus, tmp_path: Path) -> None:
    spec = spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path))
    ended = isthmus("deploy", spec, "--token-file", tmp_path / "absent")
    assert ended.code == 1
    assert "token file" in ended.line and "absent" in ended.line


def test_shutdown_of_nothing_is_no_fault(isthmus: Isthmus) -> None:
    ended = isthmus("shutdown")
    assert (ended.code, ended.out) == (0, "nothing runs on this machine\n")


def test_a_file_that_the_system_refuses_is_named(isthmus: Isthmus, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the cache's folder should be")
    ended = isthmus("plan", model_file(tmp_path), "-T", topology_file(tmp_path))
    assert ended.code == 1
    assert str(tmp_path / "home") in ended.line
