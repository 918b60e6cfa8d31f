"""How long the exact split takes: every zoo model and a generated graph of 100,000 operators, two tiers.

"build + solve" is one minimum cut from a priced problem to positions; "answer" is solve() whole, with tables,
certificate, unsplit plans and reason. Peers get the same network, interleaved with ours. Operator seconds are drawn
from a seed: how long a cut takes depends on the graph, not on the engine. It judges no plan.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter

import networkx as nx
import numpy as np
from kit.figures import Figure, figure, report
from kit.problems import two_tiers, zoo_graphs

from partitioner.cost import additive_latency_s
from partitioner.graph import Activation, Graph, Operator
from partitioner.search.chains import Chain, chains_of
from partitioner.search.cut import CutProblem, Network, network, solve_cut
from partitioner.search.mincut import solve
from partitioner.search.terms import terms_of
from partitioner.tables import Prices, price_list

TARGET_MS = 2.0
LARGE, LARGE_TARGET_MS = 100_000, 1000.0


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each repeat, per contender."""

    seconds: dict[str, list[float]]

    def ms(self, name: str) -> tuple[float, tuple[float, float]]:
        """Median and spread in milliseconds."""
        ms = [1e3 * one for one in self.seconds[name]]
        return median(ms), (min(ms), max(ms))

    def ratio(self, name: str, to: str) -> tuple[float, tuple[float, float]]:
        """Median and spread of one contender's seconds over another's, repeat by repeat."""
        ratios = [a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]
        return median(ratios), (min(ratios), max(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no peers on the large graph")
    options = parser.parse_args()
    repeats = 10 if options.quick else 40
    figures = [one for name, graph in zoo_graphs() for one in small(name, graph, repeats)]
    figures.extend(large(2 if options.quick else 5, peers=not options.quick))
    report("mincut", figures, options.json)


def small(name: str, graph: Graph, repeats: int) -> list[Figure]:
    problem = two_tiers(graph)
    prices = price_list(problem)
    chain, below_s = two_sites(prices), unsplit_s(prices)
    net = network(cut_problem(prices, chain))
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: solve_cut(cut_problem(prices, chain), below_s=below_s),
        "answer": lambda: solve(problem),
        "networkx": lambda: by_networkx(net),
    }
    times = timed(contenders, repeats)
    told = f"{name} ({len(graph.operators)} operators)"
    ours, ours_spread = times.ms("ours")
    answer, answer_spread = times.ms("answer")
    ratio, ratio_spread = times.ratio("networkx", "ours")
    return [
        figure(f"{told}: build + solve", ours, "ms", TARGET_MS, spread=ours_spread),
        figure(f"{told}: answer", answer, "ms", spread=answer_spread),
        figure(f"{told}: networkx preflow on the same network / ours", ratio, "×", 1.0, "higher", ratio_spread),
    ]


def large(repeats: int, peers: bool) -> list[Figure]:
    problem = two_tiers(generated(LARGE))
    prices = price_list(problem)
    chain, below_s = two_sites(prices), unsplit_s(prices)
    net = network(cut_problem(prices, chain))
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: solve_cut(cut_problem(prices, chain), below_s=below_s),
        "answer": lambda: solve(problem),
    }
    if peers:
        contenders["scipy"] = lambda: by_scipy(net)
    times = timed(contenders, repeats)
    told = f"{LARGE:,} operators"
    ours, ours_spread = times.ms("ours")
    answer, answer_spread = times.ms("answer")
    figures = [
        figure(f"{told}: build + solve", ours, "ms", LARGE_TARGET_MS, spread=ours_spread),
        figure(f"{told}: answer", answer, "ms", LARGE_TARGET_MS, spread=answer_spread),
    ]
    if peers:
        ratio, spread = times.ratio("scipy", "ours")
        figures.append(figure(f"{told}: scipy (int32, inexact) / ours", ratio, "×", better="higher", spread=spread))
    return figures


def timed(contenders: dict[str, Callable[[], object]], repeats: int) -> Times:
    """Run all in turn, `repeats` times over, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            start = perf_counter()
            run()
            if turn:
                seconds[name].append(perf_counter() - start)
    return Times(seconds)


def two_sites(prices: Prices) -> Chain:
    """The chain camera | mec."""
    return next(one for one in chains_of(prices) if len(one.sites) == 2)


def cut_problem(prices: Prices, chain: Chain) -> CutProblem:
    """What one minimum cut is to solve, from prices alone, as the search poses it."""
    allowed = np.isfinite(chain.seconds)
    low, high = 1 + allowed.argmax(axis=1), 2 - allowed[:, ::-1].argmax(axis=1)
    step = terms_of(prices, chain.route, low, high).step
    return CutProblem(table=prices.table, seconds=chain.seconds, low=low, high=high, step=step)


def unsplit_s(prices: Prices) -> float:
    """Seconds of the best unsplit plan; a cut is of use only below them."""
    everything = np.arange(len(prices.problem.graph.operators))
    alone = (chain.sites[0] for chain in chains_of(prices) if len(chain.sites) == 1)
    return min(additive_latency_s(prices, [(site, everything)]) for site in alone)


def by_networkx(net: Network) -> float:
    graph = nx.DiGraph()
    graph.add_nodes_from((net.source, net.source + 1))
    for tail, head, capacity in zip(net.tail.tolist(), net.head.tolist(), net.capacity.tolist(), strict=True):
        graph.add_edge(tail, head, capacity=capacity)
    value: float = nx.minimum_cut_value(graph, net.source, net.source + 1, flow_func=nx.flow.preflow_push)
    return value


def by_scipy(net: Network) -> int:
    """A coarse flow: scipy holds 32-bit capacities only. It is here for its speed."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_flow

    finite = net.capacity[np.isfinite(net.capacity)]
    most = 2**30 / (float(finite.sum()) + 1e-12)
    whole = np.where(np.isfinite(net.capacity), net.capacity * most, 2**30).astype(np.int32)
    matrix = csr_matrix((whole, (net.tail, net.head)), shape=(net.source + 2,) * 2, dtype=np.int32)
    value: int = maximum_flow(matrix, net.source, net.source + 1).flow_value
    return value


def generated(count: int) -> Graph:
    """Operators in a long row, three in ten of which also read one of the six before; one input, one output."""
    draw = Random(2)
    reads: list[list[str]] = [["x"]]
    for i in range(1, count):
        also = [f"t{i - 1 - draw.randrange(min(i, 6))}"] if draw.random() < 0.3 else []
        reads.append(sorted({f"t{i - 1}", *also}))
    consumers: dict[str, list[int]] = {}
    for i, names in enumerate(reads):
        for name in names:
            consumers.setdefault(name, []).append(i)
    names = ["x", *(f"t{i}" for i in range(count))]
    activations = {
        name: Activation(
            name=name,
            shape=(draw.choice((1_000, 10_000, 100_000)),),
            dtype="float32",
            producer=None if name == "x" else int(name[1:]),
            consumers=tuple(consumers.get(name, ())),
        )
        for name in names
    }
    operators = tuple(
        Operator(name=f"op{i}", op_type="Add", domain="", inputs=tuple(some), outputs=(f"t{i}",))
        for i, some in enumerate(reads)
    )
    return Graph(
        name="generated",
        operators=operators,
        activations=activations,
        inputs=("x",),
        outputs=(f"t{count - 1}",),
        weights_bytes={},
    )


if __name__ == "__main__":
    main()
