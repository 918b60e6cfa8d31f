"""Graphs of fewer, larger operators: what a simulator plans with, thousands of times.

Operators are put together into blocks between narrow points, where all that later operators read of earlier ones is one
activation (and model inputs). A narrow point is given up where a cut can't be best: where the activation is no smaller
than at the points before and after it. With seconds that add up, moving such a cut one way sends less and computes no
slower. Plans that cut within blocks are lost, and with them nothing for chains; a network with branches loses some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from partitioner.graph import Activation, Graph, Operator
from partitioner.profile import EngineProfile, Profile, segment_key

Block = tuple[int, int]  # operators [first, behind the last]


def blocks_of(graph: Graph) -> tuple[Block, ...]:
    """The operators in blocks, in order."""
    last_read = {name: max(one.consumers, default=-1) for name, one in graph.activations.items()}
    points = [(0, sum(graph.activations[name].nbytes for name in graph.inputs))]
    for behind in range(1, len(graph.operators)):
        crossing = [
            one
            for name, one in graph.activations.items()
            if one.producer is not None and one.producer < behind <= last_read[name]
        ]
        if len(crossing) == 1:
            points.append((behind, crossing[0].nbytes))
    points.append((len(graph.operators), 0))
    edges = [behind for behind, _ in _worthwhile(points)]
    return tuple(pairwise(edges))


def _worthwhile(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without those, time and again, that are no smaller than both of their neighbours."""
    left = list(points)
    while True:
        at = next(
            (k for k in range(1, len(left) - 1) if left[k][1] >= max(left[k - 1][1], left[k + 1][1])),
            None,
        )
        if at is None:
            return left
        del left[at]


def coarse_graph(graph: Graph, blocks: Sequence[Block]) -> Graph:
    """The graph with an operator a block; activations within blocks are gone."""
    operators = tuple(_joined(graph, block) for block in blocks)
    block_of = {index: number for number, block in enumerate(blocks) for index in range(*block)}
    activations: dict[str, Activation] = {}
    for name in dict.fromkeys([*graph.inputs, *(name for one in operators for name in one.outputs)]):
        before = graph.activations[name]
        producer = None if before.producer is None else block_of[before.producer]
        readers = dict.fromkeys(block_of[index] for index in before.consumers if block_of[index] != producer)
        activations[name] = replace(before, producer=producer, consumers=tuple(readers))
    return replace(graph, operators=operators, activations=activations)


def _joined(graph: Graph, block: Block) -> Operator:
    inside = graph.operators[slice(*block)]
    if len(inside) == 1:
        return inside[0]
    made = [name for one in inside for name in one.outputs]
    outputs = [
        name
        for name in made
        if name in graph.outputs or any(reader >= block[1] for reader in graph.activations[name].consumers)
    ]
    return Operator(
        name=_name(inside),
        op_type="Block",
        domain="",
        inputs=tuple(dict.fromkeys(name for one in inside for name in one.inputs if name not in made)),
        outputs=tuple(outputs),
        weights=tuple(dict.fromkeys(name for one in inside for name in one.weights)),
    )


def _name(inside: Sequence[Operator]) -> str:
    return inside[0].name if len(inside) == 1 else f"{inside[0].name}..{inside[-1].name}"


def coarse_profile(profile: Profile, graph: Graph, blocks: Sequence[Block]) -> Profile:
    """The profile of the coarse graph: operators' seconds added up, the segments that are whole blocks, its tensors."""
    names = {tuple(one.name for one in graph.operators[slice(*block)]): _name(graph.operators[slice(*block)])
             for block in blocks}  # fmt: skip
    kept = coarse_graph(graph, blocks).activations
    return replace(
        profile,
        engines={key: _coarse_engine(engine, names) for key, engine in profile.engines.items()},
        tensors={name: figures for name, figures in profile.tensors.items() if name in kept},
    )


def _coarse_engine(engine: EngineProfile, names: Mapping[tuple[str, ...], str]) -> EngineProfile:
    def added(seconds: Mapping[str, float]) -> dict[str, float]:
        return {name: sum(seconds[one] for one in inside) for inside, name in names.items()} if seconds else {}

    segment_s, segments = {}, {}
    for key, operators in engine.segments.items():
        whole = {inside: name for inside, name in names.items() if set(inside) <= set(operators)}
        if key in engine.segment_s and sum(map(len, whole)) == len(operators):
            mine = tuple(whole.values())
            segments[segment_key(mine)] = mine
            segment_s[segment_key(mine)] = engine.segment_s[key]
    operator_s, first_s = added(engine.operator_s), added(engine.first_s)
    return replace(engine, operator_s=operator_s, first_s=first_s, segment_s=segment_s, segments=segments)
