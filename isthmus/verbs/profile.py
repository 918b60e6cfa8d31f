"""`isthmus profile`: measure a model on the engines of a topology, and keep what was learned. Nothing is deployed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from isthmus.question import Question
from isthmus.terminal import note, progress, show, show_json
from nodes.errors import EngineMissing
from orchestrator.model_file import prepare
from orchestrator.own_host import blueprint_here
from orchestrator.profile_file import profile_to_json, save_profile
from orchestrator.spec import DeploymentSpec
from partitioner.fitted import fit_of
from partitioner.load import load
from partitioner.profile import Profile


def profile_model(
    model: Path,
    topology: Path | None,
    address: str | None,
    shapes: Sequence[str],
    samples: Sequence[str],
    output: Path | None,
    *,
    max_error: float,
    segments: int,
    batches: Sequence[int],
    tune_s: float,
    tuner: str,
    as_json: bool,
) -> None:
    """Measure a model on a topology's nodes, up to `segments` of it on each engine, and write or print the profile."""
    question = Question(
        model=model, topology=topology, shapes=tuple(shapes), samples=tuple(samples), max_error=max_error
    )
    spec = question.spec()
    refuse_early(spec, address)
    with progress("profiling"):
        asked = (segments, tuple(batches), tune_s, tuner)
        found = _there(spec, address, *asked) if address else _here(spec, *asked)
    if output is not None:
        save_profile(found, output)
    if as_json:
        show_json(profile_to_json(found))
        return
    graph = load(prepare(spec).path).graph
    for key, engine in found.engines.items():
        total_s = sum(engine.operator_s.values()) + engine.call_s
        where = f"{key.node_class}: {key.backend} {key.precision}, {key.threads} threads"
        fitted = fit_of(graph, engine)
        sure = ""
        if fitted is not None:
            seconds, std_s = fitted.seconds(range(len(graph.operators) // 2))
            sure = f"; others fitted, half the model to ±{std_s / seconds:.0%}"
        show(f"{where}: whole model {total_s * 1e3:.2f} ms, {len(engine.segment_s)} segments timed{sure}")
        if engine.options:
            show(f"  tuned: {', '.join(f'{name}={value}' for name, value in engine.options)}")
        for rows, seconds in engine.batch_s.items():
            show(f"  {rows} at once: {seconds * 1e3:.2f} ms, {rows / seconds:.1f} a second")
    if output is not None:
        show(f"written to {output}; use it with: isthmus plan {model} --topology T --profile {output}")


def _here(spec: DeploymentSpec, segments: int, batches: tuple[int, ...], tune_s: float, tuner: str) -> Profile:
    asked = blueprint_here(spec, note, segments=segments, batches=batches, tune_s=tune_s, tuner=tuner)
    return asyncio.run(asked).profile


def _there(
    spec: DeploymentSpec, address: str, segments: int, batches: tuple[int, ...], tune_s: float, tuner: str
) -> Profile:
    from orchestrator.client import Client

    with Client(address) as client:
        return client.profile(spec, segments=segments, batches=batches, tune_s=tune_s, tuner=tuner)[0]


def refuse_early(spec: DeploymentSpec, address: str | None) -> None:
    """What is wrong with a model, or lacks on this machine, is said before a cluster is started for it.

    InvalidModel, UnsupportedOperator, BadInput or SpecError; EngineMissing for a node of which no backend is here.
    """
    from nodes.backend import installed_backends

    prepare(spec)
    if address is not None:
        return
    here = set(installed_backends())
    for node in spec.topology.nodes:
        if node.address is None and not here & set(node.backends):
            wanted = ", ".join(node.backends)
            raise EngineMissing(
                f"node {node.name}: none of its backends ({wanted}) is installed here; see: isthmus doctor"
            )
