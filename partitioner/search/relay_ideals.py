"""A problem's ideals (what has run once a stage is done) with what the search asks of each: seconds, bytes, weights.

Operators that must share a stage are one element, as in lattice.py. Where there are too many ideals, those along a few
orders of the operators stand for all. It judges nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import networkx as nx
import numpy as np

from partitioner.pipelines import PipelineInstance, Pool
from partitioner.problem import Problem, Site
from partitioner.search.ideal_kernels import enumerate_ideals, ideal_sums
from partitioner.search.lattice import Bits, Elements, chain_of_ideals, elements_of
from partitioner.search.memory import limits
from partitioner.search.relay_kernels import Edges, Tensors, edges_of, weight_sums
from partitioner.tables import Floats, Ints, Prices
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """The problem by elements. `codec_of[row, t]` is the codec that row `row` of `tensors` stands for."""

    prices: Prices
    elements: Elements
    element_of: Ints  # of each operator
    tensors: Tensors
    least_bytes: Floats
    codec_of: Ints
    targets: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ideals:
    """The empty ideal first, everything last. `made[o, i]`: whether output o is made within ideal i, as 1 or 0.

    `weight_bytes`: [0] read within, [1] read outside; None where memory can't bind.
    """

    edges: Edges
    crossing_bytes: Floats
    made: Floats
    done_s: Mapping[Site, Floats]
    weight_bytes: Floats | None


def ground_of(prices: Prices) -> Ground:
    """The problem's elements and tensors."""
    problem, table = prices.problem, prices.table
    elements = elements_of(_instance(prices), loosely=False)
    element_of = np.zeros(len(problem.graph.operators), dtype=np.int64)
    for element, members in enumerate(elements.members):
        element_of[list(members)] = element
    targets = tuple(sorted({problem.outputs_to[table.names[tensor]] for tensor in table.outputs.tolist()}))
    coded = np.where(prices.codecs.admissible, prices.codecs.coded_bytes, np.inf)
    least = coded.argmin(axis=0)
    every = np.arange(len(coded))[:, None].repeat(coded.shape[1], axis=1)
    return Ground(
        prices=prices,
        elements=elements,
        element_of=element_of,
        tensors=_tensors(prices, element_of, targets, coded),
        least_bytes=coded.min(axis=0),
        codec_of=every if problem.serialised else least[None],
        targets=targets,
    )


def _instance(prices: Prices) -> PipelineInstance:
    """The problem as lattice.py reads it. All weigh a byte, so that what costs nothing is an element too."""
    problem, table = prices.problem, prices.table
    index = {operator.name: i for i, operator in enumerate(problem.graph.operators)}
    made = table.producer[table.read_tensor]
    pairs = zip(made[made >= 0].tolist(), table.reader[made >= 0].tolist(), strict=True)
    pools = (
        Pool(name=str(i), count=1, seconds=tuple(row.tolist())) for i, row in enumerate(prices.operator_s.values())
    )
    return PipelineInstance(
        name=problem.graph.name,
        operators=tuple(index),
        reads=tuple(sorted(set(pairs))),
        transfer_s=(0.0,) * len(index),
        nbytes=(1.0,) * len(index),
        pools=tuple(pools),
        together=tuple(tuple(index[name] for name in group) for group in problem.together),
    )


def _tensors(prices: Prices, element_of: Ints, targets: Sequence[NodeId], coded: Floats) -> Tensors:
    problem, table, codecs = prices.problem, prices.table, prices.codecs
    readers: list[set[int]] = [set() for _ in table.names]
    for tensor, reader in zip(table.read_tensor.tolist(), element_of[table.reader].tolist(), strict=True):
        readers[tensor].add(reader)
    returns_to = np.full(len(table.names), -1, dtype=np.int64)
    for tensor in table.outputs.tolist():
        returns_to[tensor] = targets.index(problem.outputs_to[table.names[tensor]])
    nothing = np.zeros((1, len(table.names)))
    return Tensors(
        np.where(table.producer < 0, -1, element_of[table.producer]),
        *_rows([sorted(some) for some in readers]),
        returns_to,
        table.outputs,
        table.raw_bytes.astype(np.float64),
        np.ascontiguousarray(coded) if problem.serialised else coded.min(axis=0)[None],
        np.ascontiguousarray(codecs.encode_s_per_byte, dtype=np.float64) if problem.serialised else nothing,
        np.ascontiguousarray(codecs.decode_s_per_byte, dtype=np.float64) if problem.serialised else nothing,
    )


def _rows(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return starts, np.array(list(chain.from_iterable(rows)), dtype=np.int64)


def every_ideal(ground: Ground, most: int) -> Ideals | None:
    """All of them, or None if there are more than `most`."""
    random = np.random.default_rng(1)  # hash keys: equality is checked bit by bit, so any will do
    keys = random.integers(1, 2**63, len(ground.elements.members), dtype=np.int64).astype(np.uint64)
    bits: Bits = enumerate_ideals(*ground.elements.before, keys, most)
    return _with_sums(ground, bits) if len(bits) else None


def some_ideals(ground: Ground) -> Ideals:
    """Those along a few orders: as the model has its operators, the reverse among equals, and depth first."""
    start, before = ground.elements.before
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(start) - 1))
    graph.add_edges_from((b, e) for e in graph for b in before[start[e] : start[e + 1]].tolist())
    depth_first = list(nx.dfs_postorder_nodes(graph.reverse(copy=False)))
    orders = (nx.lexicographical_topological_sort(graph, key=key) for key in (int, int.__neg__))
    rows = np.concatenate([chain_of_ideals(order) for order in (*map(list, orders), depth_first)])
    held = np.unique(rows, axis=0)
    return _with_sums(ground, held[np.bitwise_count(held).sum(axis=1).argsort(kind="stable")])


def _with_sums(ground: Ground, bits: Bits) -> Ideals:
    prices, tensors = ground.prices, ground.tensors
    start, items, crossing = edges_of(bits, tensors, ground.least_bytes)
    rows = [_per_element(ground, np.where(np.isfinite(row), row, 0.0)) for row in prices.operator_s.values()]
    made = np.zeros((len(tensors.outputs), len(ground.elements.members)))
    made[np.arange(len(made)), tensors.owner[tensors.outputs]] = 1.0
    sums: Floats = ideal_sums(bits, np.concatenate([np.stack(rows), made]))
    sites = len(prices.operator_s)
    return Ideals(
        edges=Edges(bits, start, items),
        crossing_bytes=crossing,
        made=sums[sites:],
        done_s=dict(zip(prices.operator_s, sums, strict=False)),
        weight_bytes=_weight_bytes(ground, bits),
    )


def _per_element(ground: Ground, per_operator: Floats) -> Floats:
    sums = np.zeros(len(ground.elements.members))
    np.add.at(sums, ground.element_of, per_operator)
    return sums


def _weight_bytes(ground: Ground, bits: Bits) -> Floats | None:
    problem: Problem = ground.prices.problem
    if all(most is None for most in limits(problem).values()):
        return None
    graph = problem.graph
    index = {name: i for i, name in enumerate(graph.weights_bytes)}
    readers: list[set[int]] = [set() for _ in index]
    for operator, element in zip(graph.operators, ground.element_of.tolist(), strict=True):
        for name in operator.weights:
            readers[index[name]].add(element)
    nbytes = np.array(list(graph.weights_bytes.values()), dtype=np.float64)
    sums: Floats = weight_sums(bits, *_rows([sorted(some) for some in readers]), nbytes)
    return sums
