"""Writes simulations/measured/NAME.json: zoo models' graphs with what this machine's engines take, without weights.

    python -m scripts.measure_pipelines               efficientnet_lite0, minilm and ocr_detect (minutes each)
    python -m scripts.measure_pipelines minilm        that one

It times through the project's own profiler on workers of this machine, one thread each, under links from slow to fast,
so that the segments that plans use are measured, the whole model in batches too, and codecs on every tensor that a
plan may send; all of it PASSES times. Operators are then put together into blocks (scripts/coarse_graph.py). What a
file says of its machine is this one's class (`CLASS`): scenarios name it in `like:`, and whatever they assume of others
in `speed:`.
"""

import argparse
import asyncio
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from isthmus import zoo
from isthmus.zoo.efficientnet import MEAN, SCALE
from isthmus.zoo.photos import photos
from nodes.backend import Array, installed_backends
from nodes.codec import CODECS, worth_trying
from nodes.codec_errors import codec_errors
from nodes.functions import function
from nodes.store import Store
from orchestrator.blueprint import Blueprint
from orchestrator.own_host import own_fleet
from orchestrator.spec import DeploymentSpec, InputSpec
from orchestrator.workshop import Workshop
from partitioner.errors import InvalidModel
from partitioner.profile import EngineProfile, Profile, TensorFigure
from partitioner.topology import Link, Node, Tier, Topology
from scripts.coarse_graph import blocks_of, coarse_graph, coarse_profile
from simulations.models import MEASURED, write_measured

Tensors = Mapping[str, Mapping[str, TensorFigure]]

CLASS = "xeon-1core"  # what is measured: one thread of a server's processor
MODELS = ("efficientnet_lite0", "minilm", "ocr_detect")
WANTED = ("onnxruntime",)  # of what is installed: one engine a node keeps the search for plans short
RATES_MBPS = (4.0, 20.0, 100.0, 1000.0)  # of the link up, for each of which the best plans' segments are timed
SLOWDOWNS = {"device": 6.0, "mec": 1.0, "cloud": 0.5}  # of the nodes that plans are made for; times are told unslowed
CODECS_TRIED = ("fp16", "int8", "int8-tensor", "uint8", "jpeg95")  # those with zstd gain little here
PASSES = 3
BATCHES = (1, 2, 4, 8)
MAX_ERROR = 0.02
SEGMENTS = 12  # known of each engine, for the cost model of those that are not


def main() -> None:
    """Measure the models named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Writes simulations/measured/NAME.json, timed on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MODELS)}; all of them if none is named")
    names = parser.parse_args().names or MODELS
    for name in names:
        if name not in MODELS:
            parser.error(f"no model {name!r}; there are {', '.join(MODELS)}")
    MEASURED.mkdir(exist_ok=True)
    for name in names:
        passes = [asyncio.run(measured(name)) for _ in range(PASSES)]
        found = replace(passes[0], profile=fastest([one.profile for one in passes]))
        path = MEASURED / f"{name}.json"
        blocks = blocks_of(found.model.graph)
        profile = coarse_profile(as_class(found.profile, CLASS), found.model.graph, blocks)
        write_measured(path, coarse_graph(found.model.graph, blocks), profile, about=about())
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


async def measured(name: str) -> Blueprint:
    """A zoo model's blueprint with all that was measured here."""
    path = zoo.build(name)
    samples = samples_of(name)
    async with own_fleet() as (fleet, folder):
        workshop = Workshop(fleet, Store(folder / "artifacts"), _say)
        specs = [spec_of(name, path, mbps, samples) for mbps in RATES_MBPS]
        for spec in specs:
            found = await workshop.blueprint(spec, path, samples)
        found = await workshop.learn(found, path, samples, SEGMENTS)
        found = replace(found, profile=replace(found.profile, tensors=tensors_of(found, path, samples)))
        try:
            return await workshop.batch_curves(found, path, BATCHES)
        except InvalidModel as refusal:  # minilm: its shapes are fixed to one sentence
            _say(f"{name} is not timed in batches: {refusal}")
            return found


def tensors_of(found: Blueprint, path: Path, samples: tuple[Mapping[str, Array], ...]) -> Tensors:
    """What codecs do to each tensor that a plan with blocks may send, and to no other."""
    graph = coarse_graph(found.model.graph, blocks_of(found.model.graph))
    tensors = {
        name: worth_trying(CODECS_TRIED, one.shape, one.dtype, model_input=one.producer is None)
        for name, one in graph.activations.items()
        if one.dtype == "float32"
    }
    tried: Tensors = codec_errors(
        path, [name for name, codecs in tensors.items() if codecs], list(samples), CODECS_TRIED
    )
    return {name: {codec: _rounded(one) for codec, one in figures.items()} for name, figures in tried.items()}


def _rounded(figure: TensorFigure) -> TensorFigure:
    changed = {
        field.name: float(f"{value:.4g}")
        for field in fields(figure)
        if isinstance(value := getattr(figure, field.name), float)
    }
    return replace(figure, **changed)


def spec_of(name: str, path: Path, mbps: float, samples: tuple[Mapping[str, Array], ...]) -> DeploymentSpec:
    """A question over three tiers with so fast a link up, whose plans say which segments are worth timing."""
    backends = tuple(backend for backend in WANTED if backend in installed_backends())
    nodes = tuple(
        Node(name=tier, tier=at, backends=backends, slowdown=SLOWDOWNS[tier], threads=1)
        for tier, at in (("device", Tier.DEVICE), ("mec", Tier.EDGE), ("cloud", Tier.CLOUD))
    )
    ends = (("device", "mec", mbps, 0.008), ("mec", "cloud", 1000.0, 0.01))
    links = tuple(
        Link(source=one, target=other, bytes_per_s=rate * 1e6 / 8, propagation_s=delay_s)
        for source, target, rate, delay_s in ends
        for one, other in ((source, target), (target, source))
    )
    return DeploymentSpec(
        name=name.replace("_", "-"),
        model=path,
        topology=Topology(nodes=nodes, links=links),
        source="device",
        inputs=tuple(InputSpec(name=one, at="device") for one in samples[0]),
        max_error=MAX_ERROR,
        codecs=CODECS,
        digest=f"{name} {mbps:g}",
    )


def samples_of(name: str) -> tuple[Mapping[str, Array], ...]:
    """What the model reads, made of the zoo's photographs, or a sentence."""
    import numpy as np

    if name == "minilm":
        from isthmus.zoo.minilm import tokens

        return tuple(tokens(text) for text in ("a bus stops at the corner", "turn the light on, please"))
    frames = [_frame(np.frombuffer(one, np.uint8), 224 if name.startswith("efficient") else 320) for one in _some()]
    read, middle, scale = ("input", MEAN, SCALE) if name.startswith("efficient") else ("x", 127.5, 127.5)
    return tuple(
        {read: ((frame.transpose(2, 0, 1)[None].astype(np.float32) - middle) / scale).astype(np.float32)}
        for frame in frames
    )


def _some() -> list[bytes]:
    return [one for name, one in photos().items() if name in ("coffee", "china", "flower", "motorcycle")]


def _frame(encoded: Array, side: int) -> Array:
    """A photograph's pixels, cropped to a square."""
    (pixels,) = function("decode_jpeg").run({}, encoded)
    (frame,) = function("resize").run({"size": [side, side], "crop": 0.875}, pixels)
    return frame


def fastest(profiles: Sequence[Profile]) -> Profile:
    """Of every time the least of several passes, as whatever else runs on a machine only adds to it."""
    first = profiles[0]
    return replace(first, engines={key: _least([one.engines[key] for one in profiles]) for key in first.engines})


def _least(engines: Sequence[EngineProfile]) -> EngineProfile:
    def least(each: Sequence[Mapping[Any, float]]) -> dict[Any, float]:
        found: dict[Any, float] = {}
        for seconds in each:
            for name, value in seconds.items():
                found[name] = min(value, found.get(name, value))
        return found

    return replace(
        engines[0],
        operator_s=least([one.operator_s for one in engines]),
        call_s=min(one.call_s for one in engines),
        segment_s=least([one.segment_s for one in engines]),
        segments={key: names for one in engines for key, names in one.segments.items()},
        first_s=least([one.first_s for one in engines]),
        batch_s=least([one.batch_s for one in engines]),
    )


def as_class(profile: Profile, name: str) -> Profile:
    """The profile with its engines under this class of node, and figures to five digits: more were not measured."""
    engines = {replace(key, node_class=name): _short(engine) for key, engine in profile.engines.items()}
    return replace(profile, engines=engines)


def _short(engine: EngineProfile) -> EngineProfile:
    def short(seconds: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.5g}") for name, value in seconds.items()}

    return replace(
        engine,
        operator_s=short(engine.operator_s),
        segment_s=short(engine.segment_s),
        first_s=short(engine.first_s),
        batch_s={rows: float(f"{seconds:.5g}") for rows, seconds in engine.batch_s.items()},
    )


def about() -> str:
    """What was measured on, in a line."""
    return f"{CLASS}: one thread of {_processor()}; {', '.join(_versions(WANTED))}; Python {platform.python_version()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _versions(backends: Iterable[str]) -> list[str]:
    from importlib.metadata import version

    return [f"{backend} {version(backend)}" for backend in backends if backend in installed_backends()]


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
