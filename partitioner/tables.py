"""A problem as index arrays: what every price is read from, made once per problem.

Nothing is decided here. Tensors keep the order of `Graph.activations`, operators that of `Graph.operators`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from partitioner.errors import InvalidProblem
from partitioner.graph import Graph
from partitioner.problem import OBJECTIVES, Problem, Site
from partitioner.profile import CodecFigure, EngineProfile

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
RAW = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTable:
    """Who makes and who reads each tensor; read i is of tensor `read_tensor[i]` by operator `reader[i]`."""

    names: tuple[str, ...]
    index: Mapping[str, int]
    raw_bytes: Ints
    producer: Ints  # -1 for a model input
    read_tensor: Ints  # ascending
    reader: Ints
    outputs: Ints  # tensors that some operator makes and the model returns


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecTable:
    """Codecs that may carry each tensor. Row 0 is raw; what stands at [c, t] holds where `admissible[c, t]`."""

    names: tuple[str, ...]
    encode_s_per_byte: Floats  # per raw byte, unslowed
    decode_s_per_byte: Floats
    coded_bytes: Floats
    admissible: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The problem with its arrays. `operator_s[site]` is slowed, and infinite where the engine cannot run it."""

    problem: Problem
    table: GraphTable
    codecs: CodecTable
    operator_s: Mapping[Site, Floats]


def tabulate(graph: Graph) -> GraphTable:
    """The graph's index arrays."""
    activations = list(graph.activations.values())
    names = tuple(graph.activations)
    index = {name: i for i, name in enumerate(names)}
    counts = [len(one.consumers) for one in activations]
    reads = sum(counts)
    producer = np.array([-1 if one.producer is None else one.producer for one in activations], dtype=np.int64)
    outputs = np.array(sorted(index[name] for name in set(graph.outputs)), dtype=np.int64)
    return GraphTable(
        names=names,
        index=index,
        raw_bytes=np.array([one.nbytes for one in activations], dtype=np.int64),
        producer=producer,
        read_tensor=np.repeat(np.arange(len(names), dtype=np.int64), counts),
        reader=np.fromiter(chain.from_iterable(one.consumers for one in activations), dtype=np.int64, count=reads),
        outputs=outputs[producer[outputs] >= 0],
    )


def price_list(problem: Problem) -> Prices:
    """The problem's arrays. InvalidProblem for an empty graph, an unknown name or an unprofiled engine."""
    _check(problem)
    table = tabulate(problem.graph)
    return Prices(
        problem=problem,
        table=table,
        codecs=_codec_table(problem, table),
        operator_s={site: _operator_s(problem, site) for site in problem.sites},
    )


def engine_profile(problem: Problem, site: Site) -> EngineProfile:
    """What was measured on the site's engine; InvalidProblem if nothing was."""
    found = problem.profile.engines.get(site.engine)
    if found is None:
        raise InvalidProblem(f"{site.node}: the profile has no times for {site.engine}; profile that engine first")
    return found


def codec_figure(problem: Problem, codec: str, tensor: str | None = None) -> CodecFigure | None:
    """The codec's speed, on that tensor if it was timed there; raw is free unless timed, another then unknown.

    Raw, which codes nothing, has one speed for all tensors.
    """
    own = problem.profile.tensors.get(tensor, {}).get(codec) if tensor is not None and codec != RAW else None
    if own is not None and own.encode_s_per_byte is not None and own.decode_s_per_byte is not None:
        return CodecFigure(encode_s_per_byte=own.encode_s_per_byte, decode_s_per_byte=own.decode_s_per_byte)
    found = problem.profile.codecs.get(codec)
    return CodecFigure(encode_s_per_byte=0.0, decode_s_per_byte=0.0) if found is None and codec == RAW else found


def coded_nbytes(raw_bytes: int, ratio: float) -> int:
    """Whole bytes of a tensor once coded."""
    return int(np.ceil(raw_bytes * ratio))


def _operator_s(problem: Problem, site: Site) -> Floats:
    seconds = engine_profile(problem, site).operator_s
    slowdown = problem.topology.node(site.node).slowdown
    listed = [seconds.get(operator.name, np.inf) for operator in problem.graph.operators]
    return np.array(listed, dtype=np.float64) * slowdown


def _codec_table(problem: Problem, table: GraphTable) -> CodecTable:
    """Admissible: raw, and each codec of the problem with a known speed that alone keeps within `max_error`."""
    figures = {RAW: codec_figure(problem, RAW)}
    figures |= {name: codec_figure(problem, name) for name in problem.codecs if name != RAW}
    known = {name: figure for name, figure in figures.items() if figure is not None}
    coded = np.zeros((len(known), len(table.names)))
    encode = np.repeat([[figure.encode_s_per_byte] for figure in known.values()], len(table.names), axis=1)
    decode = np.repeat([[figure.decode_s_per_byte] for figure in known.values()], len(table.names), axis=1)
    admissible = np.zeros(coded.shape, dtype=np.bool_)
    coded[0], admissible[0] = table.raw_bytes, True
    rows = {name: row for row, name in enumerate(known) if row}
    for tensor, by_codec in problem.profile.tensors.items() if rows else ():
        column = table.index.get(tensor)
        for name, figure in by_codec.items() if column is not None else ():
            if name in rows and figure.error <= problem.max_error:
                coded[rows[name], column] = coded_nbytes(int(table.raw_bytes[column]), figure.ratio)
                admissible[rows[name], column] = True
                speed = codec_figure(problem, name, tensor) or known[name]
                encode[rows[name], column], decode[rows[name], column] = (
                    speed.encode_s_per_byte,
                    speed.decode_s_per_byte,
                )
    return CodecTable(
        names=tuple(known),
        encode_s_per_byte=encode,
        decode_s_per_byte=decode,
        coded_bytes=coded,
        admissible=admissible,
    )


def _check(problem: Problem) -> None:
    graph = problem.graph
    if problem.objective not in OBJECTIVES and problem.objective != "error":
        raise InvalidProblem(f"no objective {problem.objective!r}; there are {', '.join(OBJECTIVES)}")
    if not graph.operators:
        raise InvalidProblem(f"{graph.name}: the model has no operators, so there is nothing to place")
    if not problem.sites:
        raise InvalidProblem(f"{graph.name}: no site was given; name at least one node with an engine")
    if not 0 <= problem.max_error < float("inf"):
        raise InvalidProblem(f"max_error should be 0 or more, a share of the largest output, is {problem.max_error:g}")
    for node in (problem.source, *(site.node for site in problem.sites), *problem.outputs_to.values()):
        problem.topology.node(node)
    for name in graph.outputs:
        if name not in problem.outputs_to:
            raise InvalidProblem(f"{graph.name}: no node was named for output {name!r}; say where it goes")
    _check_names(problem)


def _check_names(problem: Problem) -> None:
    graph = problem.graph
    for name in problem.kept:
        if name not in graph.activations:
            raise InvalidProblem(f"{graph.name}: private tensor {name!r} is not in the model")
    operators = {operator.name for operator in graph.operators} if problem.pinned or problem.together else set()
    for group in problem.together:
        if len(set(group)) < max(2, len(group)):
            told = ", ".join(group) or "nothing"
            raise InvalidProblem(f"{graph.name}: operators that share a stage are two or more, each once, not {told}")
    for name in (name for group in problem.together for name in group):
        if name not in operators:
            raise InvalidProblem(f"{graph.name}: operator {name!r}, to share a stage, is not in the model")
    for name, node in problem.pinned.items():
        problem.topology.node(node)
        if name not in operators:
            raise InvalidProblem(f"{graph.name}: pinned operator {name!r} is not in the model")
