"""What a pattern's program must keep besides order: weights in memory, and limits on energy, money, error, throughput.

Every figure of the evaluator but the makespan is a plain sum over where operators stand and what is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from partitioner.cost import call_s
from partitioner.problem import Problem
from partitioner.search.forms import Forms
from partitioner.search.milp import Program
from partitioner.search.patterns import Pattern
from partitioner.tables import Floats, Ints, Prices
from partitioner.topology import Link, Path

AROUND = 100.0  # what limits, and a makespan near the best one known, are scaled to


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """A program's columns: x[operator, stage], y[form, pair] sent, coded[form, stage] where made.

    Of inputs, whose forms are `inputs`: coded_in[form] by the router, entered[form, stage].
    """

    x: Ints
    y: Ints
    coded: Ints
    coded_in: Ints
    entered: Ints
    inputs: Ints


def hold(program: Program, problem: Problem, pattern: Pattern, x: Ints) -> None:
    """Each stage holds the weights that its operators read; a node's memory bounds all its stages' together."""
    sites = pattern.sites
    readers: dict[str, list[int]] = {}
    for i, operator in enumerate(problem.graph.operators):
        for name in operator.weights:
            readers.setdefault(name, []).append(i)
    total = sum(problem.graph.weights_bytes[name] for name in readers)
    for node in sorted({site.node for site in sites}):
        own = [p for p, site in enumerate(sites) if site.node == node]
        most = problem.topology.node(node).memory_bytes
        if most is None or most >= total * len(own):
            continue
        columns, sizes = [], []
        for name, some in readers.items():
            held = x[some[0]][own]
            if len(some) > 1:
                held = program.columns(len(own))
                for reader in some:
                    program.rows([held, x[reader][own]], [1.0, -1.0], low=0.0)
            columns.append(held)
            sizes.append(np.full(len(own), AROUND * problem.graph.weights_bytes[name] / max(most, 1)))
        program.row(*flat(columns, sizes), high=AROUND if most else 0.0)


def keep_limits(program: Program, prices: Prices, forms: Forms, pattern: Pattern, columns: Columns) -> None:
    """Rows for every limit but the latency's, which bounds nothing that the objective does not.

    An absent watt or price counts nothing here; what it makes unknown, constraints.violation refuses.
    """
    limits, topology, sites = prices.problem.limits, prices.problem.topology, pattern.sites
    if limits.error is not None:
        coded, scale = [*columns.coded.T, columns.coded_in], AROUND / max(limits.error, 1e-9)
        program.row(*flat(coded, [forms.error * scale] * len(coded)), high=limits.error * scale)
    nodes = [topology.node(site.node) for site in sites]
    asked: list[tuple[list[float], dict[Link, float], float]] = []  # rates of stages and links, and their most
    if limits.energy_j is not None:
        rates = {link: link.j_per_byte or 0.0 for link in topology.links}
        asked.append(([node.active_w or 0.0 for node in nodes], rates, limits.energy_j))
    if limits.cost_usd is not None:
        rates = {link: link.usd_per_byte or 0.0 for link in topology.links}
        asked.append(([(node.usd_per_hour or 0.0) / 3600 for node in nodes], rates, limits.cost_usd))
    if limits.throughput_per_s is not None:
        most_s = 1 / limits.throughput_per_s
        asked += [([float(node is one) for node in nodes], {}, most_s) for one in topology.nodes if one in nodes]
        asked += [([0.0] * len(nodes), {link: 1 / link.bytes_per_s}, most_s) for link in topology.links]
    calls_s = np.array([call_s(prices.problem, site) for site in sites])
    for stage_rates, link_rates, most in asked:
        terms, values = _spent(prices, forms, pattern, columns, (np.array(stage_rates), link_rates))
        scale = AROUND / max(most, 1e-12)
        room = most - float(calls_s @ np.array(stage_rates))
        program.row(*flat(terms, [value * scale for value in values]), high=room * scale)


def _spent(
    prices: Prices, forms: Forms, pattern: Pattern, columns: Columns, rates: tuple[Floats, Mapping[Link, float]]
) -> tuple[list[Ints], list[Floats]]:
    """Σ rate · operators' seconds + Σ rate · bytes over each link, as columns and values."""
    problem, sites, way = prices.problem, pattern.sites, prices.problem.topology.path

    def rate(path: Path | None) -> float:
        return 0.0 if path is None else sum(rates[1].get(link, 0.0) for link in path.links)

    terms, values = [columns.x], [np.where(np.isfinite(pattern.seconds), pattern.seconds, 0.0) * rates[0]]
    for k, (i, j) in enumerate(pattern.pairs):
        terms.append(columns.y[:, k])
        values.append(forms.nbytes * rate(way(sites[i].node, sites[j].node)))
    for p, site in enumerate(sites):
        terms.append(columns.entered[columns.inputs, p])
        values.append(forms.nbytes[columns.inputs] * rate(way(problem.source, site.node)))
        for tensor in prices.table.outputs.tolist():
            mine = slice(int(forms.first[tensor]), int(forms.first[tensor + 1]))
            terms.append(columns.coded[mine, p])
            to = problem.outputs_to[prices.table.names[tensor]]
            values.append(forms.nbytes[mine] * rate(way(site.node, to)))
    return terms, values


def flat(columns: Sequence[Ints], values: Sequence[Floats]) -> tuple[Ints, Floats]:
    """All terms of one row, those of value 0 left out, each column once."""
    flat, weights = (np.concatenate([one.ravel() for one in some]) for some in (columns, values))
    unique, place = np.unique(flat, return_inverse=True)
    total = np.bincount(place, weights=weights, minlength=len(unique)).astype(np.float64)
    return unique[total != 0], total[total != 0]
