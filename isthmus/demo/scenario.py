"""The demo's site: a slow camera, an edge node and a cloud, two questions about one classifier, and real photographs.

How slow the camera is comes out of the measured profile, by calculation, so that the split has room to spare.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isthmus import zoo
from isthmus.planning import engines_of
from isthmus.zoo.photos import photo
from nodes.backend import Array, installed_backends
from nodes.functions import function
from orchestrator.blueprint import Blueprint
from orchestrator.links_seen import LinkEstimate
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile
from partitioner.topology import Link, Node, Tier, Topology

FAST_MBPS, SLOW_MBPS, RTT_MS = 100.0, 10.0, 8.0
CODECS = ("raw", "fp16", "int8", "raw+zstd", "fp16+zstd", "int8+zstd")  # one scale for all classes may change a label
CLOUD_MBPS, CLOUD_RTT_MS = 400.0, 20.0
MAX_ERROR = 0.02
SLOWDOWNS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0)
PHOTOS = ("coffee", "camera", "chelsea", "china", "flower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: its spec, why it is asked, and a request made of each photograph."""

    key: str
    title: str
    spec: DeploymentSpec
    requests: Mapping[str, dict[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The camera's slowdown, with what the plans before and after the drop gain over staying."""

    slowdown: float
    fast: Plan
    slow: Plan
    stale_s: float  # the fast plan's latency on the slow link
    late_s: float  # the slow plan's latency on the fast link


def site(slowdown: float, uplink_mbps: float = FAST_MBPS) -> Topology:
    """Camera, MEC and cloud with the engines that are installed, and the links between."""
    here = installed_backends()
    edge = tuple(name for name in ("openvino", "onnxruntime") if name in here)
    cloud = tuple(name for name in ("onnxruntime-cuda", "onnxruntime") if name in here)
    nodes = (
        Node(name="camera", tier=Tier.DEVICE, backends=("onnxruntime",), slowdown=slowdown),
        Node(name="mec", tier=Tier.EDGE, backends=edge[:1]),
        Node(name="cloud", tier=Tier.CLOUD, backends=cloud[:1]),
    )
    uplink = both_ways("camera", "mec", uplink_mbps, RTT_MS)
    return Topology(nodes, (*uplink, *both_ways("mec", "cloud", CLOUD_MBPS, CLOUD_RTT_MS)))


def both_ways(one: str, other: str, mbps: float, rtt_ms: float) -> tuple[Link, Link]:
    """The two directions of a link."""
    rate, delay_s = mbps * 1e6 / 8, rtt_ms * 1e-3 / 2
    up = Link(source=one, target=other, bytes_per_s=rate, propagation_s=delay_s)
    return up, replace(up, source=other, target=one)


def cases(topology: Topology, folder: Path) -> tuple[Case, Case]:
    """Unconstrained, where the camera may send its JPEG; and private, where no pixels leave it.

    The photographs are written to a folder, where they serve as samples too.
    """
    photos = {name: photo(name) for name in PHOTOS}
    samples = folder / "photographs"
    samples.mkdir()
    for name, data in photos.items():
        (samples / f"{name}.jpg").write_bytes(data)
    encoded: dict[str, dict[str, Array]] = {
        name: {"photo": np.frombuffer(data, np.uint8)} for name, data in photos.items()
    }
    frames: dict[str, dict[str, Array]] = {
        name: {"frame": _frame(request["photo"])} for name, request in encoded.items()
    }
    free = _spec("photos", "efficientnet_lite0_jpeg", topology, InputSpec(name="photo", at="camera", samples=samples))
    private = _spec(
        "frames",
        "efficientnet_lite0_frame",
        topology,
        InputSpec(name="frame", at="camera", private=True, samples=samples),
    )
    return (
        Case(key="a", title="unconstrained: the camera may send its JPEG", spec=free, requests=encoded),
        Case(key="b", title="private: true, no pixels leave the camera", spec=private, requests=frames),
    )


def with_topology(case: Case, topology: Topology) -> Case:
    """The same question on another site."""
    return replace(case, spec=replace(case.spec, topology=topology, digest=_digest(case.spec.name, topology)))


def blueprint(spec: DeploymentSpec, profile: Profile) -> Blueprint:
    """What planning the case's spec needs."""
    return Blueprint(spec=spec, model=load(spec.model), profile=profile, engines=engines_of(profile, spec.topology))


def choose_slowdown(private: Case, profile: Profile) -> Choice:
    """The slowdown at which splitting and both switches gain most: the largest of the smallest gains.

    gain(split) = 1 − split / all-camera on the fast link; gain(drop) = 1 − best / split on the slow one, and
    gain(return) = 1 − split / that best one on the fast link, without which nobody would switch back.
    """
    choices = [choice for factor in SLOWDOWNS if (choice := choice_at(private, profile, factor)) is not None]
    return max(choices, key=least_gain)


def least_gain(choice: Choice) -> float:
    """The smallest of the three gains, as a share."""
    whole_s = choice.fast.unsplit_s["camera"]
    assert whole_s is not None, "the camera can run everything"
    fast_s, slow_s = choice.fast.predicted.latency_s, choice.slow.predicted.latency_s
    return min(1 - fast_s / whole_s, 1 - slow_s / choice.stale_s, 1 - fast_s / choice.late_s)


def choice_at(private: Case, profile: Profile, slowdown: float) -> Choice | None:
    """What the camera's slowdown makes of both links' plans; None where splitting on the fast link is not best."""
    drawn = blueprint(with_topology(private, site(slowdown)).spec, profile)
    slowed = [
        LinkEstimate(
            source=link.source, target=link.target, bytes_per_s=link.bytes_per_s, propagation_s=link.propagation_s
        )
        for link in both_ways("camera", "mec", SLOW_MBPS, RTT_MS)
    ]
    fast, slow = drawn.find(), drawn.find(slowed)
    if isinstance(fast, Infeasible) or isinstance(slow, Infeasible) or not fast.is_split:
        return None
    stale_s, late_s = drawn.price(fast, slowed), drawn.price(slow, ())
    return Choice(slowdown=slowdown, fast=fast, slow=slow, stale_s=stale_s, late_s=late_s)


def _spec(name: str, model: str, topology: Topology, entry: InputSpec) -> DeploymentSpec:
    return DeploymentSpec(
        name=name,
        model=zoo.build(model),
        topology=topology,
        source="camera",
        inputs=(entry,),
        max_error=MAX_ERROR,
        codecs=CODECS,
        digest=_digest(name, topology),
    )


def _digest(name: str, topology: Topology) -> str:
    return f"demo {name} {topology.nodes} {topology.links}"


def _frame(photo: Array) -> Array:
    """What the camera's sensor gives: the photograph's pixels, cropped to the model's picture."""
    (pixels,) = function("decode_jpeg").run({}, photo)
    (frame,) = function("resize").run({"size": [224, 224], "crop": 0.875}, pixels)
    return frame
