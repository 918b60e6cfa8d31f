"""Claims about topology.yaml: what design.md shows is read, and each fault is one line with its path."""

from pathlib import Path

import pytest
import yaml

from nodes.backend import BACKENDS
from orchestrator.errors import SpecError
from orchestrator.rnis.radio import radio_links
from orchestrator.topology_spec import load_topology, topology_to_plain
from partitioner.topology import Tier, Topology

THREE = """
nodes:
  - {name: camera, tier: device, backends: [onnxruntime], threads: 1, slowdown: 8, memory_mb: 512}
  - {name: mec,    tier: edge,   backends: [openvino, onnxruntime], memory_mb: 4096}
  - {name: cloud,  tier: cloud,  backends: [tensorrt, onnxruntime], memory_mb: 16384}
links:
  - {from: camera, to: mec,   goodput_mbps: 40,  rtt_ms: 8}
  - {from: mec,    to: cloud, goodput_mbps: 400, rtt_ms: 20}
"""
TWO = """
nodes:
  - {name: a, tier: device, backends: [onnxruntime], %s}
  - {name: b, tier: cloud, backends: [onnxruntime]}
links:
  - {from: a, to: b, %s}
"""
LINK = "goodput_mbps: 40, rtt_ms: 8"


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "topology.yaml"
    path.write_text(text)
    return load_topology(path)


def fault(tmp_path: Path, text: str) -> str:
    """The one line with which the file is refused, without its folder."""
    with pytest.raises(SpecError) as refused:
        read(tmp_path, text)
    line = str(refused.value)
    assert "\n" not in line
    return line.removeprefix(f"{tmp_path}/")


def test_the_topology_of_the_design_is_read_into_si_units(tmp_path: Path) -> None:
    topology = read(tmp_path, THREE)
    camera, link = topology.node("camera"), topology.links[0]
    assert (camera.tier, camera.slowdown, camera.memory_bytes) == (Tier.DEVICE, 8.0, 512_000_000)
    assert (link.source, link.target, link.bytes_per_s, link.propagation_s) == ("camera", "mec", 5e6, 0.004)


def test_a_link_goes_both_ways_alike_unless_the_way_back_is_given(tmp_path: Path) -> None:
    alike = read(tmp_path, TWO % ("threads: 1", LINK)).links
    apart = read(tmp_path, TWO % ("threads: 1", f"{LINK}, back_mbps: 8")).links
    assert [link.bytes_per_s for link in alike] == [5e6, 5e6]
    assert [(link.source, link.bytes_per_s) for link in apart] == [("a", 5e6), ("b", 1e6)]


def test_a_nodes_backends_keep_their_order(tmp_path: Path) -> None:
    assert read(tmp_path, THREE).node("cloud").backends == ("tensorrt", "onnxruntime")


def test_what_else_is_understood_is_kept(tmp_path: Path) -> None:
    node = "labels: {room: '4'}, address: '10.0.0.7:7070', idle_w: 2, active_w: 5, usd_per_hour: 0.1, purchase_usd: 90"
    link = f"{LINK}, jitter_ms: 2, loss: 0.01, j_per_mb: 3, usd_per_gb: 2, trusted: false"
    topology = read(tmp_path, TWO % (node, link))
    a, there = topology.nodes[0], topology.links[0]
    assert (a.labels, a.address, a.idle_w, a.purchase_usd) == ((("room", "4"),), "10.0.0.7:7070", 2.0, 90.0)
    assert (there.jitter_s, there.loss, there.j_per_byte, there.trusted) == (0.002, 0.01, 3e-6, False)
    assert there.usd_per_byte == pytest.approx(2e-9)


def test_an_engines_options_keep_their_kinds(tmp_path: Path) -> None:
    topology = read(tmp_path, TWO % ("engines: {onnxruntime: {level: all, spinning: true, inter: 2, x: 0.5}}", LINK))
    told = topology.node("a").options_of("onnxruntime")
    assert told == {"level": "all", "spinning": True, "inter": 2, "x": 0.5}
    assert [type(value) for value in told.values()] == [str, bool, int, float]
    assert topology.node("b").options_of("onnxruntime") == {}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    node = "slowdown: 4, memory_mb: 512, engines: {onnxruntime: {level: all}}"
    topology = read(tmp_path, TWO % (node, f"{LINK}, back_mbps: 8"))
    assert read(tmp_path, yaml.safe_dump(topology_to_plain(topology))) == topology


@pytest.mark.parametrize(
    ("node", "link", "line"),
    [
        ("memory: 5", LINK, "nodes[0].memory: unknown key; did you mean 'memory_mb'?"),
        ("qqq: 5", LINK, "nodes[0].qqq: unknown key; remove it"),
        ("memory_mb: 512MB", LINK, "nodes[0].memory_mb: should be a valid number, is '512MB'"),
        ("threads: 0", LINK, "nodes[0].threads: should be greater than or equal to 1, is 0"),
        ("dials_only: true", LINK, "nodes[0].dials_only: a node that only dials out is not supported yet; "
         "let it accept connections"),
        ("threads: 1", "goodput_mbps: 0, rtt_ms: 8", "links[0].goodput_mbps: should be greater than 0, is 0"),
        ("threads: 1", "goodput_mbps: -4, rtt_ms: 8", "links[0].goodput_mbps: should be greater than 0, is -4"),
        ("threads: 1", "goodput_mbps: .inf, rtt_ms: 8", "links[0].goodput_mbps: should be a finite number, is inf"),
        ("threads: 1", "goodput_mbps: 40", "links[0].rtt_ms: is missing; add it"),
        ("threads: 1", "goodput_gbps: 1, rtt_ms: 8", "links[0].goodput_gbps: unknown key; "
         "did you mean 'goodput_mbps'? (and 1 more)"),
        ("engines: {nosuch: {a: 1}}", LINK, "nodes[0].engines: no backend 'nosuch' to give options; known are "
         f"{', '.join(BACKENDS)}"),
        ("threads: 1, threads: 2", LINK, "3:66: key 'threads' is given twice; keep one"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_path(tmp_path: Path, node: str, link: str, line: str) -> None:
    found = fault(tmp_path, TWO % (node, link))
    assert found.removeprefix("topology.yaml:").strip() == line


def test_a_dangling_link_names_the_nodes_that_there_are(tmp_path: Path) -> None:
    line = fault(tmp_path, THREE.replace("from: mec, ", "from: mce, "))
    assert line == "topology.yaml: links[1].from: no node 'mce'; nodes are camera, mec, cloud"


def test_a_duplicate_node_is_refused(tmp_path: Path) -> None:
    line = fault(tmp_path, THREE.replace("name: cloud", "name: mec"))
    assert line == "topology.yaml: nodes[2].name: node 'mec' is listed twice; give each node its own name"


def test_a_node_that_no_path_leads_to_is_refused(tmp_path: Path) -> None:
    line = fault(tmp_path, "\n".join(THREE.splitlines()[:-1]))
    expected = "topology.yaml: nodes[2]: no path leads from camera to cloud; add a link or remove the node"
    assert line == expected


def test_a_link_given_from_both_ends_is_refused(tmp_path: Path) -> None:
    line = fault(tmp_path, THREE + "  - {from: mec, to: camera, goodput_mbps: 4, rtt_ms: 8}\n")
    assert "links[2]: camera and mec are joined twice; keep one" in line


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    assert "links[2]: a link joins two different nodes" in fault(
        tmp_path, THREE + "  - {from: mec, to: mec, goodput_mbps: 4, rtt_ms: 8}\n"
    )


@pytest.mark.parametrize(
    ("backends", "says"),
    [
        ("[onnxruntim]", "nodes[0].backends: no backend 'onnxruntim'; known are onnxruntime"),
        ("[]", "nodes[0].backends: List should have at least 1 item"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(tmp_path: Path, backends: str, says: str) -> None:
    assert says in fault(tmp_path, THREE.replace("[onnxruntime], threads", f"{backends}, threads"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "topology.yaml: should hold keys and values, not nothing"),
        ("- a\n", "topology.yaml: should hold keys and values, not list ['a']"),
        ("nodes: [", "topology.yaml:1:9: expected the node content, but found '<stream end>'"),
        ("nodes: 3\n", "topology.yaml: nodes: should be a list, not int 3"),
        ("nodes: [3]\n", "topology.yaml: nodes[0]: should be keys and values, not int 3"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str, line: str) -> None:
    assert fault(tmp_path, text) == line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: No such file or directory; give the path of a YAML file"):
        load_topology(tmp_path / "none.yaml")


def test_a_link_s_radio_is_known_where_its_ue_sends_and_survives_writing(tmp_path: Path) -> None:
    topology = read(tmp_path, TWO % ("threads: 1", f"{LINK}, rnis: {{url: 'http://mec:8080', ue: 10.45.0.2}}"))
    assert [link.rnis for link in topology.links] == [("http://mec:8080", "10.45.0.2"), None]
    assert read(tmp_path, yaml.safe_dump(topology_to_plain(topology))) == topology
    (radio,) = radio_links(topology)
    assert (radio.source, radio.target, radio.ue, radio.propagation_s) == ("a", "b", "10.45.0.2", 0.004)


@pytest.mark.parametrize(
    "rnis", ["{url: mec:8080, ue: 10.45.0.2}", "{url: 'http://mec', ue: camera}", "{ue: 10.45.0.2}"]
)
def test_a_radio_that_can_not_be_asked_is_refused(tmp_path: Path, rnis: str) -> None:
    assert fault(tmp_path, TWO % ("threads: 1", f"{LINK}, rnis: {rnis}")).startswith("topology.yaml: links[0].rnis.")
