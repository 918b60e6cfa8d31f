"""What a second of a stage, a byte of a message and a call take of every resource, for one chain and its crews.

The same sums as figures.py, but per unit, so that a search can price a hundred thousand cuts at once. Positions as in
messages.py, up to the third; what a shorter chain lacks is zero. Resources that another is at least as busy as in
every respect are left out. It decides nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from partitioner.cost import call_s
from partitioner.messages import ROUTER_SLOWDOWN
from partitioner.problem import Problem, Site
from partitioner.search.relay_kernels import Rates
from partitioner.search.replicas import Crew
from partitioner.tables import Floats
from partitioner.topology import NodeId

PLACES = 4  # the router and three positions
_Unit = tuple[str, int, int]  # what is counted, from (or at) which position, to which target


def rates_of(problem: Problem, sites: Sequence[Site], crews: Sequence[Crew], targets: Sequence[NodeId]) -> Rates:
    """Seconds that each unit takes of each resource; `targets` are the nodes that outputs return to."""
    taken: dict[object, dict[_Unit, float]] = defaultdict(lambda: defaultdict(float))
    for position, (site, crew) in enumerate(zip(sites, crews, strict=True), start=1):
        for node in crew:
            taken[node]["stage", position, 0] += 1 / len(crew)
            taken[node]["fixed", 0, 0] += call_s(problem, site) / len(crew)
    ends = [(problem.source,), *crews]
    for position in range(1, len(ends)):
        _message(problem, taken, (ends[position - 1], ends[position]), ("leg", position, 0), position > 1, True)
    for position, (number, to) in product(range(1, len(ends)), enumerate(targets)):
        _message(problem, taken, (ends[position], (to,)), ("back", position, number), True, False)
    return _arrays(taken, len(targets))


def _message(
    problem: Problem,
    taken: Mapping[object, dict[_Unit, float]],
    ends: tuple[Crew, Crew],
    unit: _Unit,
    from_stage: bool,
    to_stage: bool,
) -> None:
    topology, profile = problem.topology, problem.profile
    kind, position, number = unit
    share = 1 / (len(ends[0]) * len(ends[1]))
    for sender, receiver in product(*ends):
        path = topology.path(sender, receiver)
        links = () if path is None else path.links  # a missing way back keeps its operator elsewhere
        for link in links:
            taken[link.source, link.target][unit] += share / link.bytes_per_s
        if not (problem.serialised and links):
            continue
        for node, link in ((sender, links[0]), (receiver, links[-1])):
            taken[node][unit] += share * (1 / link.bytes_per_s + profile.message_s_per_byte)
            taken[node][f"{kind} fixed", position, number] += share * profile.message_s
        slowed = [topology.node(node).slowdown for node in (sender, receiver)]
        taken[sender][f"{kind} encode", position, number] += share * (slowed[0] if from_stage else ROUTER_SLOWDOWN)
        taken[receiver][f"{kind} decode", position, number] += share * (slowed[1] if to_stage else ROUTER_SLOWDOWN)


def _arrays(taken: Mapping[object, Mapping[_Unit, float]], targets: int) -> Rates:
    units = sorted({unit for row in taken.values() for unit in row})
    table = np.array([[row.get(unit, 0.0) for unit in units] for row in taken.values()])
    table = _undominated(table)
    columns = dict(zip(units, table.T, strict=True))
    nothing = np.zeros(len(table))

    def per_place(kind: str) -> Floats:
        return np.stack([columns.get((kind, place, 0), nothing) for place in range(PLACES)])

    def per_target(kind: str) -> Floats:
        rows = [[columns.get((kind, place, to), nothing) for place in range(PLACES)] for to in range(targets)]
        return np.array(rows).reshape(targets, PLACES, len(table))

    return Rates(
        fixed=columns[("fixed", 0, 0)] + per_place("leg fixed").sum(axis=0),
        stage=per_place("stage"),
        leg=per_place("leg"),
        encode=per_place("leg encode"),
        decode=per_place("leg decode"),
        back=per_target("back"),
        back_fixed=per_target("back fixed"),
        back_encode=per_target("back encode"),
        back_decode=per_target("back decode"),
    )


def _undominated(table: Floats) -> Floats:
    """Rows that no other row is at least as large as in every column; equal ones once."""
    rows = np.unique(table, axis=0)
    kept = [
        row for i, row in enumerate(rows) if not any((other >= row).all() for j, other in enumerate(rows) if j != i)
    ]
    return np.array(kept)
