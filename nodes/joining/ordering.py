"""In which order a pipeline's steps come, and which of them are run as one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from nodes.joining.steps import ModelCall, Pipeline, Step
from partitioner.errors import InvalidModel

SHARED = "_and_"  # between the names of steps that are run as one


@dataclass(frozen=True, slots=True)
class BatchedCall:
    """Steps that run one model and do not wait for each other, as one."""

    name: str
    steps: tuple[ModelCall, ...]


Group = tuple[Step, ...]


def ordered(pipeline: Pipeline, digests: Mapping[str, str]) -> list[Step | BatchedCall]:
    """Each step after those that feed it. `digests`: which model each step runs. InvalidModel for a circle."""
    taken = [*(source.name for source in pipeline.sources), *(step.name for step in pipeline.steps)]
    if twice := {name for name in taken if taken.count(name) > 1}:
        raise InvalidModel(f"{_label(pipeline)}: {min(twice)!r} is the name of two; each source and step has its own")
    groups: list[Group] = [(step,) for step in pipeline.steps]
    try:
        found = _sorted(groups)
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise InvalidModel(f"{_label(pipeline)}: steps feed each other in a circle: {circle}") from None
    if pipeline.batched:
        found = _sorted(_batched(groups, digests, pipeline.pinned))
    return [group[0] if len(group) == 1 else _call(group, taken) for group in found]


def _label(pipeline: Pipeline) -> str:
    return f"{pipeline.where}: steps" if pipeline.where else pipeline.name


def _call(group: Group, taken: Iterable[str]) -> BatchedCall:
    name = SHARED.join(step.name for step in group)
    while name in taken:
        name += "_"
    return BatchedCall(name, tuple(step for step in group if isinstance(step, ModelCall)))


def _batched(groups: list[Group], digests: Mapping[str, str], pinned: Mapping[str, str]) -> list[Group]:
    """Calls of one model put together wherever none of the steps then waits for itself, or has to be at two nodes."""
    for group in list(groups):
        if not isinstance(group[0], ModelCall) or group not in groups:
            continue
        for other in list(groups):
            own = next(one for one in groups if group[0] in one)
            if other is own or not isinstance(other[0], ModelCall) or digests[other[0].name] != digests[own[0].name]:
                continue
            if len({pinned[step.name] for step in (*own, *other) if step.name in pinned}) > 1:
                continue
            merged = [(*own, *other) if one is own else one for one in groups if one is not other]
            try:
                _sorted(merged)
            except CycleError:
                continue
            groups = merged
    return groups


def _sorted(groups: Sequence[Group]) -> list[Group]:
    home = {step.name: group[0].name for group in groups for step in group}
    by_name = {group[0].name: group for group in groups}
    graph = {
        name: {home[wire.partition(".")[0]] for step in group for wire in step.wires if wire.partition(".")[0] in home}
        for name, group in by_name.items()
    }
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]
