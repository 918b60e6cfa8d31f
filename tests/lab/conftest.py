"""The lab's hosts, once for all its tests; where there can be none they skip and say why, but never in CI."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.zoo import build
from tests.lab.hosts import DATA_PORT, TOKEN, Lab, missing
from tests.lab.journals import all_replay
from tests.lab.told import Told

TOPOLOGY = """\
nodes:
  - {name: camera, tier: device, backends: [onnxruntime], memory_mb: 6}
  - {name: EDGE, tier: edge, backends: [onnxruntime], memory_mb: 64ADDRESS}
  - {name: cloud, tier: cloud, backends: [onnxruntime], memory_mb: 14}
links:
  - {from: camera, to: EDGE, goodput_mbps: 100, rtt_ms: 1}
  - {from: EDGE, to: cloud, goodput_mbps: 1000, rtt_ms: 1}
  - {from: camera, to: cloud, goodput_mbps: 5, rtt_ms: 20}
"""
SPEC = """\
name: NAME
model: MODEL
topology: NAME.topology.yaml
inputs: {input: {at: camera, private: true}}
"""


@pytest.fixture(scope="session")
def possible() -> None:
    reason = missing()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; in CI the lab's tests must run")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def model(possible: None) -> Path:
    return build("efficientnet_lite0")


@pytest.fixture(scope="module")
def lab(possible: None) -> Iterator[Lab]:
    with Lab("camera", "mec", "cloud", "board") as lab:
        lab.slow("camera", "mec", 100)
        lab.slow("camera", "cloud", 5)  # as the topology says: what is measured to be faster is used
        yield lab


@pytest.fixture(scope="module")
def address(lab: Lab) -> str:
    return lab.start_ray("cloud", "camera", "mec")


@pytest.fixture(scope="module")
def camera(lab: Lab, address: str) -> Iterator[Told]:
    """A client where the images arise. In the end whatever the controllers wrote is replayed."""
    homes = (host.home for host in lab.hosts.values())
    with all_replay(*homes), Told(lab, "camera", address, TOKEN) as told:
        yield told
        told.ask("shutdown")


@pytest.fixture(scope="module")
def spec(lab: Lab, model: Path) -> str:
    """Three stages by memory: no node but the edge's holds the whole model."""
    return write_spec(lab.hosts["camera"].home, "classify", model, edge="mec")


@pytest.fixture(scope="module")
def live_spec(lab: Lab, model: Path) -> str:
    """Any host holds the whole model: what is split, and where, is for the links to say."""
    roomy = re.sub(r"memory_mb: [0-9]+", "memory_mb: 200", TOPOLOGY)
    return write_spec(lab.hosts["camera"].home, "live", model, edge="mec", topology=roomy, private=False)


@pytest.fixture(scope="module")
def board_spec(lab: Lab, model: Path) -> str:
    """As `spec`, but the edge is a board without Ray."""
    address = f"{lab.hosts['board'].address}:{DATA_PORT}"
    return write_spec(lab.hosts["camera"].home, "onboard", model, edge="board", address=address)


def write_spec(
    folder: Path,
    name: str,
    model: Path,
    *,
    edge: str,
    address: str | None = None,
    topology: str = TOPOLOGY,
    private: bool = True,
) -> str:
    known = f", address: '{address}'" if address else ""
    (folder / f"{name}.topology.yaml").write_text(topology.replace("EDGE", edge).replace("ADDRESS", known))
    path = folder / f"{name}.yaml"
    path.write_text(SPEC.replace("NAME", name).replace("MODEL", str(model)).replace("true", str(private).lower()))
    return str(path)
