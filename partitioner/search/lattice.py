"""The ideals of an instance: all sets of operators that are closed under "what it reads".

A pipeline is a chain of ideals; what lies between two of them is a piece. Before counting, operators that must share
a device become one element, with everything on the paths between them; and an operator that costs nothing and reads
nothing (a weight, say) is no element of its own: it stands with its first reader, where it never does worse while
memory lasts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from partitioner.errors import InvalidProblem
from partitioner.pipelines import PipelineInstance
from partitioner.search.ideal_kernels import Flows, enumerate_ideals, ideal_sums

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint64]
MOST_IDEALS = 400_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Elements:
    """What is placed as one, in topological order, each with its operators, and those that stand with it if it reads
    them first. `seconds[t, e]` on pool t counts only what the pool can run; `lacking[t, e]` is how many it can't.
    """

    members: tuple[tuple[int, ...], ...]
    followers: Mapping[int, tuple[int, ...]]
    before: tuple[Ints, Ints]
    seconds: Floats
    lacking: Floats
    nbytes: Floats
    flows: Flows


def elements_of(instance: PipelineInstance, *, loosely: bool = True) -> Elements:
    """The instance's elements. InvalidProblem if operators read each other in a circle.

    Not `loosely`: weights with bytes are elements too, as they may have to stand elsewhere than with a reader.
    """
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(instance.operators)))
    graph.add_edges_from(instance.reads)
    _refuse_circles(instance, graph)
    for group in instance.together:
        graph.add_edges_from((*pairwise(group), (group[-1], group[0])) if len(group) > 1 else ())
    whole = nx.condensation(graph)
    loose = {part for part in whole if _is_loose(instance, whole, part, loosely)}
    order = [part for part in nx.lexicographical_topological_sort(whole) if part not in loose]
    return _numbered(instance, whole, order, loose)


def _refuse_circles(instance: PipelineInstance, graph: Any) -> None:
    if not nx.is_directed_acyclic_graph(graph):
        circle = " → ".join(instance.operators[a] for a, _ in nx.find_cycle(graph))
        raise InvalidProblem(f"{instance.name}: operators read each other in a circle: {circle}")


def _is_loose(instance: PipelineInstance, whole: Any, part: int, loosely: bool) -> bool:
    """Whether it costs nothing anywhere and reads nothing, so that it does best with its first reader.

    With one result that reader sends on what it would have received: standing there never costs more, but memory.
    """
    members = whole.nodes[part]["members"]
    free = all(pool.seconds[operator] == 0 for pool in instance.pools for operator in members)
    return bool(
        free
        and len(members) == 1
        and whole.in_degree(part) == 0
        and whole.out_degree(part) > 0
        and (loosely or not any(instance.nbytes[operator] for operator in members))
    )


def _numbered(instance: PipelineInstance, whole: Any, order: Sequence[int], loose: set[int]) -> Elements:
    number = {part: index for index, part in enumerate(order)}
    element = {op: number.get(part, -1) for part in whole for op in whole.nodes[part]["members"]}
    readers: dict[int, set[int]] = defaultdict(set)
    for a, b in instance.reads:
        if element[b] >= 0 and (element[a] != element[b] or element[a] < 0):
            readers[a].add(element[b])
    members = tuple(tuple(sorted(whole.nodes[part]["members"])) for part in order)
    table = np.array([pool.seconds for pool in instance.pools])
    able = np.isfinite(table)
    table = np.where(able, table, 0.0)
    followers: dict[int, list[int]] = defaultdict(list)
    for operator in sorted(readers):
        for reader in readers[operator] if element[operator] < 0 else ():
            followers[reader].append(operator)
    return Elements(
        members=members,
        followers={reader: tuple(some) for reader, some in followers.items()},
        before=_rows(sorted(number[a] for a in whole.predecessors(part) if a not in loose) for part in order),
        seconds=np.stack([table[:, list(some)].sum(axis=1) for some in members], axis=1),
        lacking=np.stack([(~able[:, list(some)]).sum(axis=1) for some in members], axis=1).astype(np.float64),
        nbytes=np.array([sum(instance.nbytes[op] for op in some) for some in members], dtype=np.float64),
        flows=_flows(instance, element, readers),
    )


def _flows(instance: PipelineInstance, element: Mapping[int, int], readers: Mapping[int, set[int]]) -> Flows:
    producers = sorted(readers)
    loose_bytes = [instance.nbytes[op] if element[op] < 0 else 0.0 for op in producers]
    return Flows(
        np.array([instance.transfer_s[op] for op in producers], dtype=np.float64),
        np.array([element[op] for op in producers], dtype=np.int64),
        np.array(loose_bytes, dtype=np.float64),
        *_rows(sorted(readers[op]) for op in producers),
    )


def _rows(rows: Iterable[Sequence[int]]) -> tuple[Ints, Ints]:
    held = [list(row) for row in rows]
    starts = np.cumsum([0, *map(len, held)]).astype(np.int64)
    return starts, np.array([item for row in held for item in row], dtype=np.int64)


def all_ideals(elements: Elements, most: int = MOST_IDEALS) -> Bits | None:
    """Every ideal, a row of bits each, by their seconds on the first pool; None if there are more than `most`."""
    random = np.random.default_rng(1)  # hash keys: equality is checked bit by bit, so any will do
    keys = random.integers(1, 2**63, len(elements.members), dtype=np.int64).astype(np.uint64)
    bits: Bits = enumerate_ideals(*elements.before, keys, most)
    if not len(bits):
        return None
    order: Ints = ideal_sums(bits, elements.seconds[:1])[0].argsort(kind="stable")  # within equals, smaller ones first
    return bits[order]


def chain_of_ideals(order: Sequence[int]) -> Bits:
    """The ideals that one order of the elements passes through."""
    bits: Bits = np.zeros((len(order) + 1, max(1, -(-len(order) // 64))), dtype=np.uint64)
    for size, element in enumerate(order, start=1):
        bits[size] = bits[size - 1]
        bits[size, element >> 6] |= np.uint64(1) << np.uint64(element & 63)
    return bits
