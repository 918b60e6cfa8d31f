"""`isthmus plan` with a profile from a file: the plan, and the atlas over a link's goodput."""

import json
from pathlib import Path

import pytest

from isthmus.verbs.planning import Question
from orchestrator.model_file import prepare
from orchestrator.profile_file import save_profile
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.isthmus.conftest import Isthmus
from tests.isthmus.given import CAMERA, CLOUD, model_file, topology_file


@pytest.fixture
def asked(tmp_path: Path) -> tuple[object, ...]:
    """`plan` of a small model that a slow camera should hand to the cloud, over all but the slowest links."""
    slow = CAMERA | {"slowdown": 50}
    topology, model = topology_file(tmp_path, nodes=[slow, CLOUD]), model_file(tmp_path)
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
        ("camera:cloud:9:1", "an atlas wants a range of goodputs above 0"),
    ],
)
def test_an_atlas_of_nothing_is_refused(isthmus: Isthmus, asked: tuple[object, ...], text: str, told: str) -> None:
    ended = isthmus(*asked, "--atlas", text)
    assert ended.code == 1
    assert told in ended.line
