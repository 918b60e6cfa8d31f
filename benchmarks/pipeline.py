"""How near a pipeline's steady throughput comes to what stages, links and cores allow, and what a hop costs.

EfficientNet-Lite0 in two and three stages, each in a worker process of its own: as they are (the cores bind), slowed
(a slowdown sleeps, so the slowest stage binds on any machine), and slowed behind a link that takes as long as a stage
(compute and transfer must overlap). The bound is min(1 / slowest stage or link, cores / CPU-seconds per request),
where cores are those that other processes of the machine left free meanwhile, and a stage takes what it took in the
full pipeline: there stages share caches and memory, and a slowdown multiplies what that costs. What they take alone
is shown beside it. Then the same stages composed in Ray Serve: a hop's overhead is the latency of one request alone,
less the stages' runs, over the messages it takes.
"""

import argparse
import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, median
from time import perf_counter

import numpy as np
from kit.cuts import chain_plan
from kit.figures import Figure, figure, report
from kit.serve_pipeline import serve_pipeline

from isthmus import zoo
from nodes.backend import Array
from nodes.profiler import profile_model
from orchestrator.answers import Answer
from orchestrator.blueprint import pose
from orchestrator.own_cluster import OwnCluster, open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import Model, load
from partitioner.plan import Plan
from partitioner.topology import Link, Node, Tier, Topology

MODEL = "efficientnet_lite0"
NAMES = ("one", "two", "three")
SLOWDOWN = 5.0
TARGET, HOP_TARGET = 0.9, 0.2
ALONE = 12  # requests by themselves, to learn what stages take
FAST = 1e12  # bytes per second: no delay worth the name
IN_FLIGHT = 4  # requests under way for each stage
TICKS = os.sysconf("SC_CLK_TCK")
NEAR = 0.06


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline of some stages, each slowed, its first link perhaps taking as long as its slowest stage."""

    name: str
    stages: int
    slowdown: float = 1.0
    link_bound: bool = False


CASES = (
    Case("2 stages", 2),
    Case("3 stages", 3),
    Case("2 slowed stages", 2, SLOWDOWN),
    Case("3 slowed stages", 3, SLOWDOWN),
    Case("2 slowed stages and a link as slow", 2, SLOWDOWN, True),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The model with something to ask it, and a plan for each number of stages."""

    model: Model
    feeds: Mapping[str, Array]
    plans: Mapping[int, Plan]


@dataclass(frozen=True, slots=True)
class Flood:
    """What a pipeline did when never idle: requests per second, and what bounds them."""

    rate: float
    slowest_s: float  # mean busy seconds of the slowest stage
    cpu_s: float  # per request, of workers and router
    cores: float  # left free by others


@dataclass(frozen=True, slots=True)
class Alone:
    """One request at a time: each stage's busy seconds, and seconds per message beside the stages' runs."""

    stage_s: tuple[float, ...]
    hop_s: float


def topology() -> Topology:
    """Three nodes, every link as fast as loopback."""
    nodes = tuple(Node(name=name, tier=tier, backends=("onnxruntime",)) for name, tier in zip(NAMES, Tier, strict=True))
    return Topology(nodes, tuple(link(a, b, FAST) for a in NAMES for b in NAMES if a != b))


def link(source: str, target: str, bytes_per_s: float) -> Link:
    return Link(source=source, target=target, bytes_per_s=bytes_per_s, propagation_s=0.0)


def subject_of(cluster: OwnCluster) -> Subject:
    """Stages of about the same compute each, one a node."""
    path = zoo.build(MODEL)
    model = load(path)
    inputs = tuple(InputSpec(name=name, at=cluster.source) for name in model.graph.inputs)
    spec = DeploymentSpec(name="x", model=path, topology=cluster.topology, source=cluster.source, inputs=inputs)
    engines = cluster.fleet.engines(cluster.topology)
    problem = pose(spec, model, profile_model(path, engines[cluster.source]), engines)
    plans = {}
    for count in (2, 3):
        shares = [(index + 1) / count for index in range(count - 1)]
        plans[count] = chain_plan(problem, NAMES[:count], shares, near=NEAR)
    random = np.random.default_rng(0)
    shapes = {name: model.graph.activations[name].shape for name in model.graph.inputs}
    return Subject(model, {name: random.random(shape, np.float32) for name, shape in shapes.items()}, plans)


async def alone(cluster: OwnCluster, name: str, feeds: Mapping[str, Array], count: int) -> Alone:
    answers: list[tuple[float, Answer]] = []
    for _ in range(count + 3):
        started_s = perf_counter()
        answer = await cluster.router.infer(name, feeds, trace=True)
        answers.append((perf_counter() - started_s, answer))
    kept = answers[3:]
    busy = tuple(median(seconds) for seconds in zip(*(busy_s(answer) for _, answer in kept), strict=True))
    rest_s = median(seconds - sum(hop.compute_s for hop in answer.hops) for seconds, answer in kept)
    return Alone(busy, rest_s / (len(busy) + 1))


def busy_s(answer: Answer) -> tuple[float, ...]:
    """Seconds that each stage had to do with a request."""
    return tuple(hop.decode_s + hop.compute_s + hop.encode_s for hop in answer.hops)


async def flood(cluster: OwnCluster, case: Case, feeds: Mapping[str, Array], seconds: float) -> Flood:
    """Keep the pipeline full, and count what it answers once it is."""
    pids = [os.getpid(), *(member.found.claimed.pid for member in cluster.fleet.members().values())]
    done: list[tuple[float, ...]] = []
    until_s = perf_counter() + 0.5 + seconds

    async def ask() -> None:
        while perf_counter() < until_s:
            done.append(busy_s(await cluster.router.infer(case.name, feeds, trace=True)))

    tasks = [asyncio.create_task(ask()) for _ in range(IN_FLIGHT * case.stages)]
    await asyncio.sleep(0.5)  # until every stage has work
    before, began_s, machine_s, ours_s = len(done), perf_counter(), machine_busy_s(), sum(map(process_s, pids))
    await asyncio.sleep(seconds)
    answered, took_s = done[before:], perf_counter() - began_s
    used_s = sum(map(process_s, pids)) - ours_s
    others_s = max(machine_busy_s() - machine_s - used_s, 0.0)
    await asyncio.gather(*tasks)
    cores = len(os.sched_getaffinity(0)) - others_s / took_s
    slowest_s = max(mean(stage) for stage in zip(*answered, strict=True))
    count = len(answered)
    return Flood(rate=count / took_s, slowest_s=slowest_s, cpu_s=used_s / count, cores=cores)


def process_s(pid: int) -> float:
    """CPU seconds that a process has used (proc(5), utime and stime)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_busy_s() -> float:
    """CPU seconds that all processes have used (proc(5), /proc/stat: all but idle and iowait; guests count twice)."""
    with open("/proc/stat") as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS


async def measured(cluster: OwnCluster, subject: Subject, case: Case, rounds: int, seconds: float) -> list[Figure]:
    """A case's figures; a round times requests alone, many at once, and alone again."""
    plan, feeds = subject.plans[case.stages], subject.feeds
    await cluster.deploy(case.name, plan, subject.model, slowdown=case.slowdown)
    onward = next(crossing for crossing in plan.crossings if crossing.sender == "s1")
    ratios, rates, bounds, apart = [], [], [], []
    for _ in range(rounds):
        alone_s = max((await alone(cluster, case.name, feeds, ALONE)).stage_s)
        if case.link_bound:
            await cluster.shape(link(onward.source, onward.target, onward.nbytes / alone_s))
        found = await flood(cluster, case, feeds, seconds)
        await cluster.shape(link(onward.source, onward.target, FAST))
        slowest_s = max(found.slowest_s, alone_s if case.link_bound else 0.0)
        bounds.append(min(1 / slowest_s, found.cores / found.cpu_s))
        rates.append(found.rate)
        ratios.append(found.rate / bounds[-1])
        apart.append(found.rate / min(1 / alone_s, found.cores / found.cpu_s))
    return [
        figure(f"{case.name}: throughput over bound", median(ratios), "", TARGET, "higher", _ends(ratios)),
        figure(f"{case.name}: over the bound of stages alone", median(apart), "", None, "higher", _ends(apart)),
        figure(f"{case.name}: throughput", median(rates), "1/s", None, "higher", _ends(rates)),
        figure(f"{case.name}: bound", median(bounds), "1/s", None, "higher", _ends(bounds)),
    ]


async def hops(cluster: OwnCluster, subject: Subject, rounds: int, count: int) -> list[Figure]:
    """Overhead of a hop of the three-stage pipeline, ours and Ray Serve's, taking turns, over the same artifacts."""
    plan, feeds = subject.plans[3], subject.feeds
    ours, serves = [], []
    with serve_pipeline(plan, subject.model, cluster.store, feeds) as serve_hop_s:
        for _ in range(rounds):
            ours.append((await alone(cluster, "3 stages", feeds, count)).hop_s)
            serves.append(await asyncio.to_thread(serve_hop_s, count))
    ratios = [one / other for one, other in zip(ours, serves, strict=True)]
    sizes = ", ".join(f"{crossing.nbytes / 1e3:.0f}" for crossing in plan.crossings)
    return [
        figure("hop overhead over Ray Serve's", median(ratios), "×", HOP_TARGET, "lower", _ends(ratios)),
        figure(f"hop overhead, isthmus ({sizes} KB)", median(ours) * 1e3, "ms", spread=_ends([s * 1e3 for s in ours])),
        figure("hop overhead, Ray Serve", median(serves) * 1e3, "ms", spread=_ends([s * 1e3 for s in serves])),
    ]


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


async def run(*, quick: bool) -> list[Figure]:
    rounds, seconds = (2, 1.5) if quick else (5, 4.0)
    async with open_cluster(topology(), NAMES[0]) as cluster:
        subject = await asyncio.to_thread(subject_of, cluster)
        found = []
        for case in CASES:
            found += await measured(cluster, subject, case, rounds, seconds)
        return found + await hops(cluster, subject, rounds, 15 if quick else 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    report("pipeline", asyncio.run(run(quick=options.quick)), options.json)


if __name__ == "__main__":
    main()
