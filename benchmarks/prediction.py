"""How well a plan's predicted latency is met: two models, several plans each, under several links.

Two sets of worker processes: on one, messages and segments are timed as a deployment times them; the other answers
requests, one at a time. They never see each other's figures, and take turns round by round, so that a busy spell of
the machine meets both; medians over the rounds are compared. Plans are not the best ones but spread: everything at
one node, and cuts where chosen shares of the compute are done.
"""

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from time import perf_counter

import numpy as np
from kit.cuts import chain_plan
from kit.figures import Figure, figure, report
from kit.profiles import combined, timed_again

from isthmus import zoo
from nodes.backend import Array
from orchestrator.blueprint import pose
from orchestrator.calibration import message_costs
from orchestrator.own_cluster import OwnCluster, open_cluster
from orchestrator.profiling import Bench, first_look, look_closer
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import Model, load
from partitioner.plan import Plan
from partitioner.problem import Problem
from partitioner.profile import Profile
from partitioner.repricing import repriced
from partitioner.tables import price_list
from partitioner.topology import Link, Node, Tier, Topology

MODELS = ("efficientnet_lite0", "ocr_read")
TARGET = 0.10
SOURCE = "camera"
NODES = (
    Node(name=SOURCE, tier=Tier.DEVICE, backends=("onnxruntime",), slowdown=3.0),
    Node(name="mec", tier=Tier.EDGE, backends=("openvino",)),
    Node(name="cloud", tier=Tier.CLOUD, backends=("onnxruntime",)),
)
# Uplink of the camera in Mbps and its round trip in ms; the link from mec to cloud stays.
LINKS = {"20 Mbps, 20 ms": (20.0, 20.0), "100 Mbps, 8 ms": (100.0, 8.0), "1 Gbps, 2 ms": (1000.0, 2.0)}
# Nodes in turn, and the share of the operators' seconds after which the next takes over.
PLANS: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "camera": (("camera",), ()),
    "mec": (("mec",), ()),
    "camera 30 % → mec": (("camera", "mec"), (0.3,)),
    "camera 60 % → cloud": (("camera", "cloud"), (0.6,)),
    "camera 35 % → mec 70 % → cloud": (("camera", "mec", "cloud"), (0.35, 0.7)),
}
NEAR = 0.12  # a cut may lie so far from its share, where fewer bytes cross


@dataclass(frozen=True, slots=True)
class Combination:
    """A plan priced under one of the links."""

    name: str
    plan: Plan

    @property
    def compute_share(self) -> float:
        """Of the predicted latency."""
        return sum(stage.seconds for stage in self.plan.stages) / self.plan.predicted.latency_s


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, where it is profiled, the plans to try, and every profile made so far."""

    bench: Bench
    feeds: Mapping[str, Array]
    plans: Mapping[str, Plan]
    profiles: list[Profile]

    @property
    def name(self) -> str:
        """The model's."""
        return self.bench.spec.name


def topology(link: str) -> Topology:
    """The three nodes under one of LINKS."""
    mbps, rtt_ms = LINKS[link]
    rates = {("camera", "mec"): (mbps, rtt_ms), ("mec", "cloud"): (500.0, 6.0)}
    return Topology(
        NODES,
        tuple(
            Link(source=a, target=b, bytes_per_s=rate * 125_000, propagation_s=delay_ms / 2e3)
            for ends, (rate, delay_ms) in rates.items()
            for a, b in (ends, ends[::-1])
        ),
    )


async def subject_of(cluster: OwnCluster, name: str) -> Subject:
    """A model with its first profile; the cluster is the one that it is profiled on."""
    path = zoo.build(name)
    model = load(path)
    feeds = sample(model)
    inputs = tuple(InputSpec(name=entry, at=SOURCE) for entry in model.graph.inputs)
    spec = DeploymentSpec(
        name=name, model=path, topology=cluster.topology, source=SOURCE, inputs=inputs, max_error=0.02
    )
    bench = cluster.workshop.bench(spec, model, path, (feeds,))
    each_s, byte_s = await message_costs(cluster.fleet, SOURCE, cluster.store)
    profile = await first_look(bench, message_s=each_s, message_s_per_byte=byte_s)
    first, *_ = LINKS
    profile = await look_closer(bench, profile, dict(spread_plans(problem(bench, profile, first))).values(), title=name)
    plans = dict(spread_plans(problem(bench, profile, first)))  # with the codecs that are best under the first link
    return Subject(bench, feeds, plans, [await look_closer(bench, profile, plans.values(), title=name)])


def combinations(subject: Subject) -> Iterator[Combination]:
    """Every plan under every link, priced."""
    profile = combined(subject.profiles)
    for name, base in subject.plans.items():
        for link in LINKS:
            posed = problem(subject.bench, profile, link)
            plan = repriced(price_list(posed), base)
            yield Combination(f"{subject.name}/{name}, {link}", plan)


def problem(bench: Bench, profile: Profile, link: str) -> Problem:
    return pose(bench.spec, bench.model, profile, bench.engines, topology=topology(link))


def spread_plans(posed: Problem) -> Iterator[tuple[str, Plan]]:
    """PLANS for this model, each priced."""
    for name, (nodes, shares) in PLANS.items():
        yield name, chain_plan(posed, nodes, shares, near=NEAR)


def sample(model: Model) -> dict[str, Array]:
    """Inputs of the right shapes, uniform noise."""
    random = np.random.default_rng(0)
    shapes = {name: model.graph.activations[name].shape for name in model.graph.inputs}
    return {name: random.random(shape, np.float32) for name, shape in shapes.items()}


async def measured(cluster: OwnCluster, subjects: Sequence[Subject], requests: int) -> dict[str, float]:
    """Median seconds of each combination's requests, by name."""
    found = {}
    for link in LINKS:
        await cluster.shape(*topology(link).links)
        for subject in subjects:
            for name in subject.plans:
                deployment = f"{subject.name}/{name}"
                seconds = [await timed(cluster, deployment, subject.feeds) for _ in range(requests + 1)]
                found[f"{deployment}, {link}"] = median(seconds[1:])
    return found


async def timed(cluster: OwnCluster, deployment: str, feeds: Mapping[str, Array]) -> float:
    started_s = perf_counter()
    await cluster.router.infer(deployment, feeds)
    return perf_counter() - started_s


def figures(subjects: Sequence[Subject], rounds: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    every = [one for subject in subjects for one in combinations(subject)]
    seconds = {one.name: [found[one.name] for found in rounds] for one in every}
    errors = {one.name: one.plan.predicted.latency_s / median(seconds[one.name]) - 1 for one in every}
    worst = max(errors, key=lambda name: abs(errors[name]))
    sizes = [abs(error) for error in errors.values()]
    yield figure("mean absolute error", mean(sizes), "", TARGET, spread=(min(sizes), max(sizes)))
    yield figure("combinations", len(every), "", 20, "higher")
    heavy = sum(one.compute_share >= 0.5 for one in every) / len(every)
    yield figure("share that is half compute or more", heavy, "", 1 / 3, "higher")
    yield figure(f"worst: {worst}", errors[worst], "")
    for one in every:
        p50_ms = [value * 1e3 for value in seconds[one.name]]
        name = f"{one.name}: p50, predicted {one.plan.predicted.latency_s * 1e3:.1f} ms ({errors[one.name]:+.1%})"
        yield figure(name, median(p50_ms), "ms", spread=(min(p50_ms), max(p50_ms)))


async def run(rounds: int, requests: int) -> list[Figure]:
    first, *_ = LINKS
    async with open_cluster(topology(first), SOURCE) as profiling, open_cluster(topology(first), SOURCE) as serving:
        subjects = [await subject_of(profiling, name) for name in MODELS]
        for subject in subjects:
            for name, plan in subject.plans.items():
                await serving.deploy(f"{subject.name}/{name}", plan, subject.bench.model)
        found = []
        for number in range(rounds):
            for subject in subjects if number else ():
                again = await timed_again(profiling, subject.bench, subject.plans.values(), subject.profiles[0])
                subject.profiles.append(again)
            found.append(await measured(serving, subjects, requests))
        return list(figures(subjects, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds, requests = (1, 3) if options.quick else (5, 5)
    report("prediction", asyncio.run(run(rounds, requests)), options.json)


if __name__ == "__main__":
    main()
