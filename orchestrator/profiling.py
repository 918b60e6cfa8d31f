"""The measure-in-the-loop: profile a model's operators, plan, time the segments that plans use, correct, plan again.

Operators are told apart on the controller's own engines; each node then times the whole model and every
segment of a candidate plan itself, because engines fuse and machines differ. Codecs are tried on the tensors
that candidate plans send. It ends when the best plan's stages and crossings are all measured, or else after ROUNDS,
which it says. `learn` times segments that no plan may use, but that tell the cost model (fitted.py) of others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nodes.backend import Array
from nodes.codec import KINDS, worth_trying
from nodes.codec_errors import codec_errors, codec_figures
from nodes.errors import UnsupportedOperator
from nodes.held import held_as, zeros
from nodes.model_parts import ModelParts
from nodes.profiler import profile_model
from orchestrator.blueprint import check_names, pose
from orchestrator.errors import ClusterError
from orchestrator.spec import DeploymentSpec
from partitioner.load import Model
from partitioner.plan import Plan, Stage
from partitioner.probes import probes
from partitioner.problem import NO_LIMITS, Problem
from partitioner.profile import EngineKey, EngineProfile, Profile, TensorFigure, segment_key
from partitioner.search.answer import answer
from partitioner.search.mincut import best_per_chain
from partitioner.segment_features import ends_of
from partitioner.sources import with_sources_held
from partitioner.topology import NodeId

ROUNDS = 5
LEARNED = 30  # segments per engine after which a fit knows enough
CANDIDATES = 4  # plans whose segments are timed in a round
ASKED_S = 5.0  # of solving in a round, where minimum cuts do not answer what is asked
BY_DATA = ("If", "Loop", "Scan")  # operators that do more or less, as the data have it
NEAR = 1.35  # a candidate that is predicted to take longer than this times the best one is not worth timing

Segment = tuple[EngineKey, tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # engine, operators, inputs, outputs
TimeSegment = Callable[[Segment], Awaitable[float]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What measuring needs: the model and its file, the question, samples of the inputs, and who times a segment."""

    spec: DeploymentSpec
    model: Model
    path: Path
    samples: tuple[Mapping[str, Array], ...]
    engines: Mapping[NodeId, tuple[EngineKey, ...]]
    local: tuple[str, ...]  # backends that the controller's own machine has
    time_segment: TimeSegment
    say: Say


async def measure(
    bench: Bench, *, message_s: float, message_s_per_byte: float, known: Profile | None = None
) -> Profile:
    """The profile under which the best plan is chosen; what is `known` of the model is not measured again.

    ClusterError if an engine cannot run the model anywhere.
    """
    profile = known or await first_look(bench, message_s=message_s, message_s_per_byte=message_s_per_byte)
    profile = with_sources_held(profile, bench.model.graph)
    for number in range(ROUNDS):
        hoped = replace(profile, tensors=_hoped(bench, profile))
        plans = await asyncio.to_thread(candidates, pose(bench.spec, bench.model, hoped, bench.engines))
        looked = await look_closer(bench, profile, plans, title=f"round {number + 1}")
        if looked is profile:
            return profile
        profile = looked
    bench.say(f"the best plan still changes after {ROUNDS} rounds: stages of it that were not timed are predicted")
    return profile


async def learn(bench: Bench, profile: Profile, *, most: int = LEARNED) -> Profile:
    """The profile with further segments timed, until `most` are known on each engine: those that tell the most.

    Operators' seconds stay as they are: such segments are cut anywhere, and what a cut costs is no operator's.
    """
    graph = bench.model.graph
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    for key, engine in profile.engines.items():
        known = sum(one in engine.segment_s for one in engine.segments)
        wanted = probes(graph, engine, most - known) if engine.operator_s else ()
        if wanted:
            bench.say(f"timing {len(wanted)} segments on {key.backend} for the cost model")
        for operators in wanted:
            segment = (key, operators, *ends_of(graph, [index[name] for name in operators]))
            profile = _timed(profile, segment, await bench.time_segment(segment))
    return profile


async def time_batch(bench: Bench, profile: Profile, rows: int) -> Profile:
    """The profile of a model with the seconds of `bench`'s, which is the same one with so many rows at once."""
    graph = bench.model.graph
    everything = tuple(operator.name for operator in graph.operators)
    for key, engine in profile.engines.items():
        if engine.operator_s:
            seconds = await bench.time_segment((key, everything, graph.inputs, graph.outputs))
            changed = replace(engine, batch_s={**engine.batch_s, rows: seconds})
            profile = replace(profile, engines={**profile.engines, key: changed})
    return profile


async def first_look(bench: Bench, *, message_s: float, message_s_per_byte: float) -> Profile:
    """Seconds of every operator and of the whole model on each engine, and codecs' speeds; no segment yet."""
    check_names(bench.spec, bench.model)
    return replace(
        await _operators(bench),
        message_s=message_s,
        message_s_per_byte=message_s_per_byte,
        codecs=await asyncio.to_thread(codec_figures, _typical_activation(), bench.spec.codecs),
    )


async def look_closer(bench: Bench, profile: Profile, plans: Iterable[Plan], *, title: str) -> Profile:
    """The profile with every segment of these plans timed and codecs tried on all they send; itself if all was."""
    plans = tuple(plans)
    segments = _unmeasured(plans, profile, bench.engines)
    tensors = _untried(plans, profile, bench)
    if segments or tensors:
        bench.say(f"{title}: timing {len(segments)} segments, trying codecs on {len(tensors)} tensors")
    for segment in segments:
        profile = _corrected(profile, segment, await bench.time_segment(segment))
    if tensors:
        codecs = [codec for codec in bench.spec.codecs if codec != "raw"]
        figures = await asyncio.to_thread(codec_errors, bench.path, tensors, list(bench.samples), codecs)
        profile = replace(profile, tensors={**profile.tensors, **figures})
    return profile


def candidates(problem: Problem) -> tuple[Plan, ...]:
    """The plans worth timing: what is asked for, and for latency the best of each chain of sites that is near the best.

    InvalidProblem for a question that can't be asked.
    """
    plain = replace(problem, objective="latency", limits=NO_LIMITS, together=(), forward_only=True, parallel=False)
    asked = [] if problem == plain else [answer(problem, seconds=ASKED_S)]
    plans = sorted(best_per_chain(plain), key=lambda plan: plan.predicted.latency_s)
    near = [plan for plan in plans if plan.predicted.latency_s <= NEAR * plans[0].predicted.latency_s]
    return (*(found for found in asked if isinstance(found, Plan)), *near[:CANDIDATES])


async def _operators(bench: Bench) -> Profile:
    """Seconds per operator on every engine: shares seen here, totals timed on the nodes themselves.

    An engine that lacks an operator of the model gets no seconds at all, so that no plan uses it; UnsupportedOperator
    if that is so of every one.
    """
    keys = tuple(dict.fromkeys(key for keys in bench.engines.values() for key in keys))
    stand_ins = {key: _stand_in(key, bench.local) for key in keys}
    bench.say(f"profiling {len(bench.model.graph.operators)} operators on {', '.join(k.backend for k in keys)}")
    seen = await _seen_here(bench, stand_ins)
    nothing = EngineProfile(operator_s={})
    engines = {key: seen.engines.get(stand_ins[key], nothing) for key in keys}
    graph = bench.model.graph
    profile = with_sources_held(replace(seen, model=bench.model.sha256, engines=engines), graph)
    everything = tuple(operator.name for operator in graph.operators)
    for key in keys:
        if stand_ins[key] in seen.engines:
            segment = (key, everything, graph.inputs, graph.outputs)
            profile = _corrected(profile, segment, await bench.time_segment(segment))
    first = {key: replace(engine, first_s=engine.operator_s) for key, engine in profile.engines.items()}
    return replace(profile, engines=first)


async def _seen_here(bench: Bench, stand_ins: Mapping[EngineKey, EngineKey]) -> Profile:
    """The operators' shares on those engines of this machine that can run the model."""
    left = tuple(dict.fromkeys(stand_ins.values()))
    while True:
        try:
            return await asyncio.to_thread(profile_model, bench.path, left, feeds=bench.samples[0])
        except UnsupportedOperator as error:
            lacking = [key for key in left if key.backend == error.backend]
            left = tuple(key for key in left if key not in lacking)
            if not left or not lacking:
                nodes = ", ".join(bench.engines)
                raise UnsupportedOperator(
                    f"{bench.spec.model.name}: {error}, and no other backend of {nodes} runs the model; "
                    f"list one that does, such as onnxruntime",
                    operator=error.operator,
                    op_type=error.op_type,
                    backend=error.backend,
                ) from None
            bench.say(f"{error}; planning without it")


def _stand_in(key: EngineKey, local: tuple[str, ...]) -> EngineKey:
    """The engine of this machine whose operator shares stand for `key`'s: the same one, or else ONNX Runtime."""
    backend = key.backend if key.backend in local else "onnxruntime"
    if backend not in local:
        raise ClusterError('operators are profiled with ONNX Runtime on the controller: pip install "isthmus[cpu]"')
    return EngineKey(node_class="here", backend=backend, precision=key.precision, threads=key.threads)


def _timed(profile: Profile, segment: Segment, measured_s: float) -> Profile:
    """The profile with a segment's own time."""
    key, operators, _, _ = segment
    engine = profile.engines[key]
    name = segment_key(operators)
    changed = replace(
        engine,
        segment_s={**engine.segment_s, name: measured_s},
        segments={**engine.segments, name: operators},
    )
    return replace(profile, engines={**profile.engines, key: changed})


def _corrected(profile: Profile, segment: Segment, measured_s: float) -> Profile:
    """The profile with a segment's own time, and its operators scaled so that they sum to it."""
    key, operators, _, _ = segment
    engine = profile.engines[key]
    known_s = sum(engine.operator_s[name] for name in operators)
    scale = max(measured_s - engine.call_s, 0.0) / known_s if known_s > 0 else 0.0
    scaled = {name: engine.operator_s[name] * scale for name in operators}
    changed = replace(engine, operator_s={**engine.operator_s, **scaled}, first_s=engine.first_s or engine.operator_s)
    return _timed(replace(profile, engines={**profile.engines, key: changed}), segment, measured_s)


def _hoped(bench: Bench, profile: Profile) -> dict[str, dict[str, TensorFigure]]:
    """What codecs did where tried; where not, the best they could do, so that no good plan is missed."""
    hoped: dict[str, dict[str, TensorFigure]] = {}
    if bench.spec.max_error > 0:
        for name in bench.model.graph.activations:
            best = {one: TensorFigure(ratio=KINDS[one].nominal_ratio, error=0.0) for one in _worthwhile(bench, name)}
            hoped |= {name: best} if best else {}
    return hoped | {name: dict(figures) for name, figures in profile.tensors.items()}


def _worthwhile(bench: Bench, tensor: str) -> tuple[str, ...]:
    """The codecs to try on an activation: float32 ones and pictures alone are worth it."""
    one = bench.model.graph.activations[tensor]
    found = worth_trying(bench.spec.codecs, one.shape, one.dtype, model_input=one.producer is None)
    return found if one.dtype == "float32" else tuple(name for name in found if KINDS[name].images_only)


def _unmeasured(
    plans: Iterable[Plan], profile: Profile, engines: Mapping[NodeId, tuple[EngineKey, ...]]
) -> tuple[Segment, ...]:
    found: dict[tuple[EngineKey, tuple[str, ...]], Segment] = {}
    for plan in plans:
        for stage in plan.stages:
            key = engine_of(stage, engines)
            if segment_key(stage.operators) not in profile.engines[key].segment_s:
                found[key, stage.operators] = (key, stage.operators, stage.inputs, stage.outputs)
    return tuple(found.values())


def _untried(plans: Iterable[Plan], profile: Profile, bench: Bench) -> tuple[str, ...]:
    if bench.spec.max_error <= 0:
        return ()
    sent = dict.fromkeys(name for plan in plans for crossing in plan.crossings for name in crossing.tensors)
    return tuple(name for name in sent if name not in profile.tensors and _worthwhile(bench, name))


def engine_of(stage: Stage, engines: Mapping[NodeId, tuple[EngineKey, ...]]) -> EngineKey:
    """The engine that a stage was planned for."""
    return next(k for k in engines[stage.node] if (k.backend, k.precision) == (stage.backend, stage.precision))


def _typical_activation() -> Array:
    """Positive, sparse and smooth-tailed, as activations are; codecs are timed on it."""
    noise = np.random.default_rng(0).standard_normal((1, 64, 32, 32)).astype(np.float32)
    return np.maximum(noise, 0.0)


class Insides:
    """Tensors to time segments with. A model is taken apart once, as long as no other one is asked about."""

    def __init__(self) -> None:
        self._parts: ModelParts | None = None
        self._of: tuple[Path, Mapping[str, Array]] | None = None

    def feeds(self, model: Model, path: Path, inputs: Iterable[str], samples: Mapping[str, Array]) -> dict[str, Array]:
        """What the samples make of the model in `path` where the time of a segment may hang on them, as that of
        functions and loops does; else as `feeds_for`.
        """
        wanted = tuple(inputs)
        if not any(operator.is_function or operator.op_type in BY_DATA for operator in model.graph.operators):
            return feeds_for(model, wanted, samples)
        if self._parts is None or self._of is None or self._of[0] != path or self._of[1] is not samples:
            self.close()
            self._parts, self._of = ModelParts(path, samples), (path, samples)
        return {name: self._parts.values.value(name) for name in wanted}

    def close(self) -> None:
        """Let go of the model."""
        if self._parts is not None:
            self._parts.close()
        self._parts = self._of = None


def feeds_for(model: Model, inputs: Iterable[str], samples: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors to time a segment with: the samples where there are any, else noise of the right shape."""
    random = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for name in inputs:
        if name in samples:
            feeds[name] = samples[name]
            continue
        activation = model.whole.activations[name]
        dtype = held_as(activation.dtype)
        noise = random.standard_normal(activation.shape)
        feeds[name] = noise.astype(dtype) if dtype.kind == "f" else zeros(activation.shape, activation.dtype)
    return feeds
