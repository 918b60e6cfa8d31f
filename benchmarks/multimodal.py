"""What planning a pipeline as one graph gains, over whole branches on a node each and over everything at the cloud.

The three examples over their own machines, the devices behind links like LTE, 5G and fibre. The joint plan is what
`isthmus deploy` would run; the two others are priced by the same measured profile, the first as the best of all ways to
give each branch (partitioner/search/branches.py) a node. All are then served here, round by round in turn: one request
at a time, of the item that the profile was made with. Bytes are those on all links that a request crosses, all tensors
raw. Energy is the model's (active watts and joules a byte, assumed below), not measured: no wattmeter is here.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import soundfile
from kit.branches import all_at, best_whole
from kit.figures import Figure, figure, report
from kit.profiles import combined, timed_again

from examples.spoken_image_search.deployed import spec_of as search_spec
from examples.street_watch.deployed import spec_of as watch_spec
from examples.voice_notes.note import NOTE
from examples.voice_notes.pipeline import writer
from orchestrator.blueprint import pose
from orchestrator.calibration import message_costs
from orchestrator.model_file import prepare, read_model
from orchestrator.own_cluster import OwnCluster, open_cluster
from orchestrator.profiling import Bench, look_closer, measure
from orchestrator.samples import load_samples
from orchestrator.sourcing import Source, named
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Infeasible, Plan
from partitioner.problem import Problem
from partitioner.profile import Profile
from partitioner.repricing import placement, repriced
from partitioner.search.answer import answer
from partitioner.tables import price_list
from partitioner.topology import Link, Tier, Topology
from simulations.radio.energy import PHONE

PHRASE = slice(8_000, 60_000)  # of the note: its first sentence
TARGET = 0.10
OTHERS = ("whole branches", "all at the cloud")
OFF, TOLD, TIMED = ": predicted p50 is off by", ", latency predicted", ", latency measured"
LOOKS = 4  # at most so often are segments timed and the best placement of branches sought again
ACTIVE_W = {"phone": 3.0, "camera": 3.0, "microphone": 2.0, "mec": 30.0, "cloud": 100.0}  # assumed
WIRED_W = 1.0  # assumed, of a wired link's ends while they send


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How devices are connected: Mbit/s up and down, a round trip in ms, and whose radio it is, if any."""

    up_mbps: float
    down_mbps: float
    rtt_ms: float
    radio: str | None


NETWORKS = {
    "LTE": Network(up_mbps=8, down_mbps=30, rtt_ms=50, radio="LTE"),
    "5G": Network(up_mbps=60, down_mbps=300, rtt_ms=16, radio="NSA"),
    "fibre": Network(up_mbps=500, down_mbps=500, rtt_ms=4, radio=None),
}


def notes(folder: Path) -> DeploymentSpec:
    return writer(folder, soundfile.read(NOTE, dtype="float32")[0][PHRASE])


EXAMPLES: Mapping[str, Callable[[Path], DeploymentSpec]] = {"search": search_spec, "watch": watch_spec, "notes": notes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plan for one network, and the deployment that serves it, which may be another choice's as well."""

    network: str
    kind: str
    plan: Plan
    deployment: str


@dataclass(slots=True)
class Subject:
    """An example with what was planned for it, its profiles, and the seconds of each choice's requests."""

    name: str
    bench: Bench
    feeds: Mapping[str, Any]
    choices: list[Choice]
    profiles: list[Profile]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def plans(self) -> dict[str, Plan]:
        """One of each deployment."""
        return {one.deployment: one.plan for one in self.choices}


def over(spec: DeploymentSpec, network: Network) -> Topology:
    """The example's machines; links from and to its devices are the network's, all others stay."""
    nodes = tuple(replace(node, active_w=ACTIVE_W[node.name]) for node in spec.topology.nodes)
    devices = {node.name for node in nodes if node.tier is Tier.DEVICE}
    return Topology(nodes, tuple(_as_in(network, link, devices) for link in spec.topology.links))


def _as_in(network: Network, link: Link, devices: Set[str]) -> Link:
    if not {link.source, link.target} & devices:
        return replace(link, j_per_byte=WIRED_W / link.bytes_per_s)
    up = link.source in devices
    rate = (network.up_mbps if up else network.down_mbps) * 1e6
    watts = PHONE[network.radio, "up" if up else "down"].watts(rate) if network.radio else WIRED_W
    return replace(link, bytes_per_s=rate / 8, propagation_s=network.rtt_ms / 2e3, j_per_byte=watts * 8 / rate)


async def subject_of(cluster: OwnCluster, name: str, spec: DeploymentSpec) -> Subject:
    """The example measured and planned for every network."""
    ready = await asyncio.to_thread(prepare, spec)
    model = await asyncio.to_thread(read_model, spec, ready.path)
    files = {entry.name: entry.samples for entry in spec.inputs if entry.samples is not None}
    samples = load_samples(files, ready.inputs)
    bench = cluster.workshop.bench(spec, model, ready.path, samples)
    each_s, byte_s = await message_costs(cluster.fleet, spec.source, cluster.store)
    profile: Profile | None = None
    for network in NETWORKS.values():  # each asks for further segments
        asked = replace(bench, spec=replace(spec, topology=over(spec, network)))
        profile = await measure(asked, message_s=each_s, message_s_per_byte=byte_s, known=profile)
    assert profile is not None
    for _ in range(LOOKS):
        plans = {title: chosen(bench, profile, title) for title in NETWORKS}
        looked = await look_closer(bench, profile, [p for some in plans.values() for p in some.values()], title=name)
        if looked is profile:
            break
        profile = looked
    names: dict[object, str] = {}
    choices = [
        Choice(
            network=title, kind=kind, plan=plan, deployment=names.setdefault(placement(plan), f"{name}-{len(names)}")
        )
        for title, some in plans.items()
        for kind, plan in some.items()
    ]
    return Subject(name, bench, samples[0], choices, [profile])


def chosen(bench: Bench, profile: Profile, network: str) -> dict[str, Plan]:
    """The three plans for a network."""
    posed = problem(bench, profile, network)
    joint = answer(posed)
    if isinstance(joint, Infeasible):
        raise SystemExit(f"{bench.spec.name}: {joint.detail}")
    return {"joint": joint} | dict(zip(OTHERS, (best_whole(posed), all_at(posed, "cloud")), strict=True))


def problem(bench: Bench, profile: Profile, network: str) -> Problem:
    return pose(bench.spec, bench.model, profile, bench.engines, topology=over(bench.spec, NETWORKS[network]))


async def serve(cluster: OwnCluster, subject: Subject, rounds: int, requests: int) -> None:
    """Every choice's requests, in turn; segments are timed again between the rounds."""
    for name, plan in subject.plans.items():
        await cluster.deploy(name, plan, subject.bench.model)
    for number in range(rounds):
        if number:
            again = timed_again(cluster, subject.bench, subject.plans.values(), subject.profiles[0])
            subject.profiles.append(await again)
        for title, network in NETWORKS.items():
            await cluster.shape(*over(subject.bench.spec, network).links)
            for one in subject.choices:
                if one.network == title:
                    took = await timed(cluster, subject, one.deployment, requests)
                    subject.seconds.setdefault((title, one.kind), []).append(took)


async def timed(cluster: OwnCluster, subject: Subject, deployment: str, requests: int) -> float:
    """Median seconds of requests one at a time, the first left out; what sensors see is at their nodes before."""
    source = subject.bench.spec.source
    away = {entry.name: entry.at for entry in subject.bench.spec.inputs if entry.at != source}
    async with AsyncExitStack() as stack:
        feeds = dict(subject.feeds)
        for name, node in away.items():
            sensor = Source(cluster.router, deployment, node)
            stack.push_async_callback(sensor.close)
            await sensor.opened()
            feeds[name] = sensor.put({name: subject.feeds[name]})
        found = []
        for _ in range(requests + 1):
            started_s = perf_counter()
            await cluster.router.infer(deployment, named(feeds))
            found.append(perf_counter() - started_s)
    return median(found[1:])


def link_bytes(topology: Topology, plan: Plan) -> int:
    """Of a request, on every link that it crosses."""
    ways = ((one.nbytes, topology.path(one.source, one.target)) for one in plan.crossings)
    return sum(nbytes * len(way.links) for nbytes, way in ways if way is not None)


def figures(subject: Subject) -> Iterator[Figure]:
    """What held over all networks first, then each."""
    profile = combined(subject.profiles)
    found: list[Figure] = []
    for title in NETWORKS:
        posed = problem(subject.bench, profile, title)
        prices = price_list(posed)
        plans = {one.kind: repriced(prices, one.plan) for one in subject.choices if one.network == title}
        took = {kind: subject.seconds[title, kind] for kind in plans}
        label = f"{subject.name}, {title}"
        for kind, plan in plans.items():
            found += of_plan(f"{label}, {kind}", posed.topology, plan, took[kind])
        found += compared(label, plans, took)
    yield from summary(subject.name, found)
    yield from found


def of_plan(name: str, topology: Topology, plan: Plan, took: Sequence[float]) -> Iterator[Figure]:
    p50_ms = [value * 1e3 for value in took]
    yield figure(f"{name}: {where(plan)}: p50", median(p50_ms), "ms", spread=(min(p50_ms), max(p50_ms)))
    yield figure(f"{name}{OFF}", abs(plan.predicted.latency_s / median(took) - 1), "")
    yield figure(f"{name}: bytes", link_bytes(topology, plan), "B")
    if plan.predicted.energy_j is not None:
        yield figure(f"{name}: energy, by the model", plan.predicted.energy_j, "J")


def compared(label: str, plans: Mapping[str, Plan], took: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    """The joint plan's seconds over the others'; 1 where it is the same plan."""
    joint = plans["joint"]
    for kind in OTHERS:
        name, same = f"{label}: joint over {kind}", placement(joint) == placement(plans[kind])
        told = joint.predicted.latency_s / plans[kind].predicted.latency_s
        ratios = [1.0] if same else [mine / theirs for mine, theirs in zip(took["joint"], took[kind], strict=True)]
        yield figure(f"{name}{TOLD}", told, "×")
        yield figure(f"{name}{TIMED}", median(ratios), "×", spread=None if same else (min(ratios), max(ratios)))


def summary(name: str, found: Sequence[Figure]) -> Iterator[Figure]:
    """The worst over the networks, each with the least and the largest."""
    off = [one.value for one in found if one.name.endswith(OFF)]
    yield figure(f"{name}{OFF} at most", max(off), "", TARGET, spread=(min(off), max(off)))
    for kind, ending in product(OTHERS, (TOLD, TIMED)):
        ratios = [one.value for one in found if one.name.endswith(f"joint over {kind}{ending}")]
        yield figure(f"{name}: joint over {kind}{ending}", max(ratios), "×", 1.0, spread=(min(ratios), max(ratios)))


def where(plan: Plan) -> str:
    """Nodes of the stages, with how many operators each has."""
    return " | ".join(f"{stage.node} {len(stage.operators)}" for stage in plan.stages)


async def run(names: Sequence[str], rounds: int, requests: int) -> list[Figure]:
    found: list[Figure] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="isthmus-multimodal-") as scratch:
            spec = EXAMPLES[name](Path(scratch))
            async with open_cluster(over(spec, NETWORKS["LTE"]), spec.source) as cluster:
                print(f"{name}: measuring and planning", file=sys.stderr)
                subject = await subject_of(cluster, name, spec)
                await serve(cluster, subject, rounds, requests)
                found += figures(subject)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("examples", nargs="*", choices=[*EXAMPLES, []], help="all unless some are named")
    options = parser.parse_args()
    rounds, requests = (1, 3) if options.quick else (5, 5)
    report("multimodal", asyncio.run(run(options.examples or [*EXAMPLES], rounds, requests)), options.json)


if __name__ == "__main__":
    main()
