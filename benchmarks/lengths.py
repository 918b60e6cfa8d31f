"""Texts of 8 to 100 tokens at one length of 128 and at several, behind one name: how long a request takes.

python benchmarks/lengths.py [--json] [--quick]

MiniLM on one worker with one thread, asked one request after another; both deployments take each text in turn, so that
noise meets them alike. Answers are held against ONNX Runtime's of the text as it came, nothing filled up.
"""

import argparse
import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from kit.figures import Figure, figure, report
from kit.sentences import TO_CALIBRATE, TO_JUDGE

from isthmus.zoo import minilm
from nodes.backend import Array, Session, load_backend
from nodes.profiler import profile_model
from orchestrator.blueprint import pose
from orchestrator.model_file import prepare, read_model
from orchestrator.own_cluster import OwnCluster, open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.waymarks import lengths_of
from partitioner.cost import evaluate
from partitioner.topology import Node, Tier, Topology

NODE, SHORT, WARM = "here", 32, 3
LENGTHS = {"one": (), "several": (16, 32, 64, 128)}
FEWEST, MOST = 8, 100
TIMES_SHORT, TIMES_ALL, APART = 2.0, 1.25, 1e-4


@dataclass
class Seen:
    """Seconds of each request by deployment, in the same order; the largest distance of an answer."""

    tokens: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in LENGTHS})
    apart: float = 0.0

    def times(self, most: int) -> Array:
        """How many times as long each text of up to so many tokens took at one length as at several."""
        chosen = np.array(self.tokens) <= most
        return (np.array(self.seconds["one"]) / np.array(self.seconds["several"]))[chosen]


def texts(count: int) -> list[dict[str, Array]]:
    """English of FEWEST to MOST tokens, all lengths alike often."""
    random, words = np.random.default_rng(0), " ".join((*TO_CALIBRATE, *TO_JUDGE)).split()
    found = []
    for length in random.integers(FEWEST, MOST + 1, count):
        begin = int(random.integers(0, len(words) - MOST))
        whole = minilm.tokens(" ".join(words[begin : begin + MOST]), length=None)
        ids = np.concatenate([whole["ids"][:, : length - 1], whole["ids"][:, -1:]], axis=1)
        found.append({"ids": ids, "mask": np.ones_like(ids)})
    return found


async def deploy(cluster: OwnCluster, name: str, path: Path) -> None:
    """The model whole on the worker, its inputs filled up with 0 to the lengths of that name."""
    most = LENGTHS["several"][-1]
    spec = DeploymentSpec(
        name=name,
        model=path,
        topology=cluster.topology,
        source=NODE,
        inputs=tuple(
            InputSpec(name=each, at=NODE, shape=(1, most), pad=(1, 0), lengths=LENGTHS[name]) for each in minilm.INPUTS
        ),
    )
    ready = await asyncio.to_thread(prepare, spec)
    model, engines = read_model(spec, ready.path), cluster.fleet.engines(cluster.topology)
    problem = pose(spec, model, await asyncio.to_thread(profile_model, ready.path, engines[NODE]), engines)
    plan = evaluate(problem, [problem.sites[0]] * len(model.graph.operators))
    await cluster.deploy(name, plan, model, pads=dict.fromkeys(minilm.INPUTS, (1, 0)), lengths=lengths_of(spec))


async def seen_of(cluster: OwnCluster, plain: Session, asked: list[dict[str, Array]]) -> Seen:
    """Every text at each deployment, in turn."""
    seen = Seen()
    for place, feeds in enumerate([*asked[:WARM], *asked]):
        wanted = plain.run(feeds)["embedding"]
        for name in LENGTHS:
            began_s = perf_counter()
            answer = await cluster.router.infer(name, feeds)
            took_s = perf_counter() - began_s
            seen.apart = max(seen.apart, float(np.abs(answer.outputs["embedding"] - wanted).max()))
            if place >= WARM:
                seen.seconds[name].append(took_s)
        if place >= WARM:
            seen.tokens.append(feeds["ids"].shape[1])
    return seen


async def figures_of(count: int, scratch: Path) -> list[Figure]:
    """What was seen."""
    path = scratch / "minilm.onnx"
    onnx.save(minilm.network(), path)
    plain = load_backend("onnxruntime").compile(path, threads=1)
    topology = Topology((Node(name=NODE, tier=Tier.CLOUD, backends=("onnxruntime",), threads=1),), ())
    async with open_cluster(topology, NODE) as cluster:
        for name in LENGTHS:
            await deploy(cluster, name, path)
        seen = await seen_of(cluster, plain, texts(count))
    figures = []
    for name, seconds in seen.seconds.items():
        took_ms = np.array(seconds) * 1e3
        low, high = np.quantile(took_ms, (0.1, 0.9))
        figures.append(
            figure(f"a request, {name} length{'s' * (name != 'one')}", float(took_ms.mean()), "ms", spread=(low, high))
        )
    for told, most, target in (
        (f"texts of {FEWEST} to {SHORT} tokens", SHORT, TIMES_SHORT),
        ("all texts", MOST, TIMES_ALL),
    ):
        times = seen.times(most)
        low, high = np.quantile(times, (0.1, 0.9))
        figures.append(
            figure(f"{told}: one length / several", float(np.median(times)), "×", target, "higher", (low, high))
        )
    figures.append(figure("answers differ from the unfilled model's by at most", seen.apart, "", APART))
    return figures


def main() -> None:
    """All texts."""
    parser = argparse.ArgumentParser(description="Texts of many lengths, at one length and at several.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="40 texts instead of 400")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = asyncio.run(figures_of(40 if options.quick else 400, Path(scratch)))
    report("lengths", figures, options.json)


if __name__ == "__main__":
    main()
