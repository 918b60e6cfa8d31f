"""Claims about a deployment's YAML: what design.md shows is read, and what cannot be is refused in one line."""

from pathlib import Path

import pytest

from orchestrator.batching import Batching
from orchestrator.errors import SpecError
from orchestrator.sequence_terms import SequenceTerms
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.problem import Limits
from partitioner.topology import Tier
from tests.orchestrator.test_topology_spec import THREE

SPEC = """
name: classify
model: efficientnet_lite0.onnx
topology: topology.yaml
objective: latency
max_error: 0.02
inputs:  {input:  {at: camera, shape: [1, 3, 224, 224], private: true}}
outputs: {logits: {to: camera}}
"""
INPUT = "{at: camera, shape: [1, 3, 224, 224], private: true}"


def read(tmp_path: Path, text: str) -> DeploymentSpec:
    (tmp_path / "topology.yaml").write_text(THREE)
    (tmp_path / "efficientnet_lite0.onnx").write_bytes(b"")
    (tmp_path / "spec.yaml").write_text(text)
    return load_spec(tmp_path / "spec.yaml")


def fault(tmp_path: Path, old: str, new: str) -> str:
    """The one line with which the spec is refused after this change, without its folder."""
    assert old in SPEC
    with pytest.raises(SpecError) as refused:
        read(tmp_path, SPEC.replace(old, new))
    line = str(refused.value)
    assert "\n" not in line
    return line.removeprefix(f"{tmp_path}/")


def test_the_spec_of_the_design_is_read(tmp_path: Path) -> None:
    spec = read(tmp_path, SPEC)
    (image,) = spec.inputs
    assert (spec.name, spec.model, spec.source) == ("classify", tmp_path / "efficientnet_lite0.onnx", "camera")
    assert (image.shape, image.private, image.private_until) == ((1, 3, 224, 224), True, None)
    assert (spec.outputs, spec.max_error) == ((("logits", "camera"),), 0.02)


def test_a_topology_can_stand_in_the_spec_itself(tmp_path: Path) -> None:
    inline = "topology:" + THREE.replace("\n", "\n  ")
    assert read(tmp_path, SPEC.replace("topology: topology.yaml", inline)).topology == read(tmp_path, SPEC).topology


def test_a_fault_in_an_inline_topology_has_its_whole_path(tmp_path: Path) -> None:
    inline = "topology:" + THREE.replace("\n", "\n  ").replace("memory_mb: 4096", "memory_mb: 0")
    line = fault(tmp_path, "topology: topology.yaml", inline)
    assert line == "spec.yaml: topology.nodes[1].memory_mb: should be greater than 0, is 0"


def test_an_input_may_be_private_until_an_operator(tmp_path: Path) -> None:
    (image,) = read(tmp_path, SPEC.replace("private: true", "private: {until: Conv_3}")).inputs
    assert (image.private, image.private_until) == (True, "Conv_3")


def test_raw_is_always_among_the_codecs(tmp_path: Path) -> None:
    assert read(tmp_path, SPEC + "codecs: [fp16]\n").codecs == ("raw", "fp16")
    assert "int8+zstd" in read(tmp_path, SPEC).codecs


def test_the_digest_follows_the_meaning_and_not_the_letters(tmp_path: Path) -> None:
    digest = read(tmp_path, SPEC).digest
    assert read(tmp_path, SPEC.replace("max_error: 0.02", "max_error:   0.020")).digest == digest
    assert read(tmp_path, SPEC.replace("max_error: 0.02", "max_error: 0.03")).digest != digest


def test_an_input_may_be_private_to_a_tier_and_until_an_operator(tmp_path: Path) -> None:
    (image,) = read(tmp_path, SPEC.replace("private: true", "private: {within: edge, until: Conv_3}")).inputs
    assert (image.private, image.private_until, image.private_within) == (True, "Conv_3", Tier.EDGE)


def test_limits_pins_and_groups_are_read_in_their_units(tmp_path: Path) -> None:
    more = "objective: energy\nlimits: {latency_ms: 40, energy_j: 2, error: 0.05}\npinned: {a: mec}\ntogether: [[a, b]]"
    spec = read(tmp_path, SPEC.replace("objective: latency", more + "\nforward_only: false"))
    assert (spec.objective, spec.forward_only) == ("energy", False)
    assert spec.limits == Limits(latency_s=0.04, energy_j=2.0, error=0.05)
    assert (spec.pinned, spec.together) == ((("a", "mec"),), (("a", "b"),))


def test_the_digest_follows_the_topology_too(tmp_path: Path) -> None:
    inline = "topology:" + THREE.replace("\n", "\n  ").replace("rtt_ms: 20", "rtt_ms: 21")
    assert read(tmp_path, SPEC.replace("topology: topology.yaml", inline)).digest != read(tmp_path, SPEC).digest


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("max_error", "max_errors", "max_errors: unknown key; did you mean 'max_error'?"),
        ("objective: latency", "objective: joy", "objective: should be 'latency', 'throughput', 'energy' or 'cost'"),
        ("objective: latency", "limits: {latency_s: 1}", "limits.latency_s: unknown key; did you mean 'latency_ms'?"),
        ("objective: latency", "limits: {energy_j: 0}", "limits.energy_j: should be greater than 0, is 0"),
        ("objective: latency", "pinned: {conv: mars}", "pinned.conv: no node 'mars'; nodes are camera, mec, cloud"),
        ("objective: latency", "together: [[conv]]", "together[0]: List should have at least 2 items"),
        ("0.02", "2", "max_error: should be less than or equal to 1, is 2"),
        ("name: classify", "name: a/b", "name: String should match pattern"),
        ("at: camera", "at: cam", "inputs.input.at: no node 'cam'; nodes are camera, mec, cloud"),
        ("to: camera", "to: cam", "outputs.logits.to: no node 'cam'; nodes are camera, mec, cloud"),
        ("to: camera", "to: cloud", "outputs.logits.to: 'cloud'; an answer returns to where its inputs are so far"),
        ("private: true", "private: yess", "inputs.input.private: should be true, false or {until: OPERATOR,"),
        ("private: true", "private: {within: cloud}", "inputs.input.private.within: should be 'device' or 'edge'"),
        ("private: true", "dtype: float31", "inputs.input.dtype: no dtype 'float31'; known are bool"),
        ("[1, 3, 224, 224]", "[1, 0]", "inputs.input.shape[1]: should be greater than or equal to 1, is 0"),
        ("private: true", "samples: faces", "inputs.input.samples: no file"),
        ("efficientnet_lite0", "b7", "model: no file"),
        ("topology: topology.yaml", "topology: [a]", "topology: should be a path, or nodes and links, is ['a']"),
        ("topology: topology.yaml", "codecs: [raw]", "topology: is missing; give the path of a topology file"),
        ("objective: latency", "codecs: [jpg]", "codecs: no codec 'jpg'; known are raw"),
        (f"{{input:  {INPUT}}}", "{}", "inputs: Dictionary should have at least 1 item"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_path(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert fault(tmp_path, old, new).startswith(f"spec.yaml: {line}")


def test_inputs_may_be_at_nodes_of_their_own(tmp_path: Path) -> None:
    spec = read(tmp_path, SPEC.replace(INPUT, f"{INPUT}, text: {{at: mec}}"))
    assert (spec.source, [entry.at for entry in spec.inputs]) == ("camera", ["camera", "mec"])
    asked = SPEC.replace(INPUT, f"{INPUT}, text: {{at: mec}}").replace("to: camera", "to: mec")
    assert read(tmp_path, f"{asked}\nsource: mec").source == "mec"
    line = fault(tmp_path, "max_error: 0.02", "source: mars")
    assert line == "spec.yaml: source: no node 'mars'; nodes are camera, mec, cloud"
    line = fault(tmp_path, INPUT, f"{INPUT}, text: {{at: mec, pad: {{axis: 1}}}}")
    assert line.startswith("spec.yaml: inputs.text.at: 'mec', while requests arise at 'camera'; with inputs.text.pad")


def test_branches_side_by_side_are_another_wish_and_refused_beside_what_is_not_planned_so(tmp_path: Path) -> None:
    plain, parallel, not_so = (read(tmp_path, SPEC + more) for more in ("", "\nparallel: true", "\nparallel: false"))
    assert [one.parallel for one in (plain, parallel, not_so)] == [False, True, False]
    assert len({plain.digest, parallel.digest}) == 2
    for more in ("objective: energy", "replicas: {max: 2}"):
        line = fault(tmp_path, "objective: latency", f"parallel: true\n{more}")
        assert line.startswith("spec.yaml: parallel: branches side by side don't go with") or "replicas.max" in line


def test_a_fault_in_the_topologys_file_names_that_file(tmp_path: Path) -> None:
    read(tmp_path, SPEC)
    (tmp_path / "topology.yaml").write_text("nodes: 3\n")
    with pytest.raises(SpecError, match=r"topology\.yaml: nodes: should be a list, not int 3"):
        load_spec(tmp_path / "spec.yaml")


BATCHING = "\nbatching: {max: 8, preferred: [8, 4], delay_ms: 2, queue_limit: 64}"


def test_how_requests_share_runs_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, SPEC + BATCHING).batching == Batching(
        most=8, preferred=(4, 8), max_delay_s=0.002, queue_limit=64
    )
    assert read(tmp_path, f"{SPEC}\nbatching: {{}}").batching == Batching()
    assert read(tmp_path, SPEC).batching is None


def test_a_spec_without_batching_has_the_digest_that_it_always_had(tmp_path: Path) -> None:
    plain, batched = read(tmp_path, SPEC), read(tmp_path, SPEC + BATCHING)
    assert "batching" not in plain.digest
    assert plain.digest != batched.digest
    assert plain.digest == read(tmp_path, f"{SPEC}\nbatching: null").digest


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{max: 0}", "batching.max: should be auto, or a whole number from 1 to 1024, is 0"),
        ("{max: many}", "batching.max: should be auto, or"),
        ("{max: 4, preferred: [8]}", "preferred: 8 is above max, 4"),
        ("{delay_ms: -1}", "batching.delay_ms: should be greater than or equal to 0, is -1"),
        ("{queue_limit: 0}", "batching.queue_limit: should be greater than or equal to 1, is 0"),
        ("{maximum: 4}", "batching.maximum: unknown key"),
    ],
)
def test_batching_that_makes_no_sense_is_refused(tmp_path: Path, given: str, told: str) -> None:
    line = fault(tmp_path, "objective: latency", f"objective: latency\nbatching: {given}")
    assert told in line


SEQUENCE = "\nsequence: {state: {h_next: h}, kept: [keys], idle_s: 5, checkpoint: 8, most: 9, most_mb: 2}"


def test_what_goes_on_from_request_to_request_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, SPEC + SEQUENCE).sequence == SequenceTerms(
        state=(("h_next", "h"),), kept=("keys",), idle_s=5, checkpoint=8, most=9, most_bytes=2_000_000
    )
    assert read(tmp_path, SPEC).sequence is None
    assert read(tmp_path, SPEC).digest != read(tmp_path, SPEC + SEQUENCE).digest
    assert read(tmp_path, SPEC).digest == read(tmp_path, f"{SPEC}\nsequence: null").digest


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{}", "sequence: says neither state nor kept"),
        ("{state: {a: h, b: h}}", "'h' is told twice"),
        ("{state: {a: h}, kept: [h]}", "'h' is told twice"),
        ("{kept: [h], checkpoint: 0}", "sequence.checkpoint: should be greater than or equal to 1, is 0"),
        ("{kept: [h], idle_s: 0}", "sequence.idle_s: should be greater than 0, is 0"),
    ],
)
def test_a_sequence_that_makes_no_sense_is_refused(tmp_path: Path, given: str, told: str) -> None:
    assert told in fault(tmp_path, "objective: latency", f"objective: latency\nsequence: {given}")
