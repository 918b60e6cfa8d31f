"""How long it takes to find every plan that is optimal at some uplink of 1 to 1000 Mbps, and to look one up.

Then the same over RTTs of 5 to 80 ms, together with plans that are good under load, and a look-up of goodput, RTT and
load. Each zoo model over two tiers, raw and with codecs whose speed, ratio and error are set to what they typically
are. Beside it, what planning anew takes. Operator seconds are drawn from a seed, as in mincut.py.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

from kit.figures import Figure, figure, report
from kit.problems import two_tiers, with_codecs, zoo_graphs

from partitioner.plan import Infeasible
from partitioner.problem import Problem
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.atlas_grid import AtlasGrid, grid
from partitioner.search.mincut import solve

ENDS = ("camera", "mec")
LOW, HIGH = 1e6 / 8, 1e9 / 8  # bytes per second
RTTS_S, LOADS_PER_S = (0.005, 0.01, 0.02, 0.04, 0.08), (5.0, 10.0, 20.0, 40.0)
TARGET_S, GRID_TARGET_S, LOOK_UP_TARGET_US = 0.5, 2.0, 50.0
LOOK_UPS = 1000


def timed(call: Callable[[], object], repeats: int) -> tuple[float, tuple[float, float]]:
    """Median seconds and spread."""
    spent = []
    for _ in range(repeats):
        began_s = perf_counter()
        call()
        spent.append(perf_counter() - began_s)
    return median(spent), (min(spent), max(spent))


def figures_of(name: str, problem: Problem, repeats: int) -> list[Figure]:
    found = atlas(problem, ENDS, LOW, HIGH)
    if not isinstance(found, Atlas):
        raise SystemExit(f"{name}: {found.detail}")
    spent_s, spread = timed(lambda: atlas(problem, ENDS, LOW, HIGH), repeats)
    solve_s, _ = timed(lambda: solve(problem), repeats)
    rates = [LOW * (HIGH / LOW) ** (n / LOOK_UPS) for n in range(LOOK_UPS)]
    look_s, looks = timed(lambda: [found.at(rate) for rate in rates], repeats)
    proven = "proven" if found.gap == 0 else f"gap {found.gap:.1%}"
    told = f"{name}: atlas of {len(found.entries)} plans ({found.cuts} asked for, {proven})"
    each_us = (looks[0] / LOOK_UPS * 1e6, looks[1] / LOOK_UPS * 1e6)
    return [
        figure(told, spent_s, "s", TARGET_S, spread=spread),
        figure(f"{name}: looking up", look_s / LOOK_UPS * 1e6, "µs", LOOK_UP_TARGET_US, spread=each_us),
        figure(f"{name}: planning anew / looking up", solve_s / (look_s / LOOK_UPS), "×", better="higher"),
    ]


def grid_figures_of(name: str, problem: Problem, repeats: int) -> list[Figure]:
    def draw() -> AtlasGrid | Infeasible:
        return grid(problem, ENDS, LOW, HIGH, rtts_s=RTTS_S, arrivals_per_s=LOADS_PER_S)

    found = draw()
    if isinstance(found, Infeasible):
        raise SystemExit(f"{name}: {found.detail}")
    spent_s, spread = timed(draw, repeats)
    parts = [n / LOOK_UPS for n in range(LOOK_UPS)]
    places = [(LOW * (HIGH / LOW) ** n, RTTS_S[0] + n * (RTTS_S[-1] - RTTS_S[0]), n * LOADS_PER_S[-1]) for n in parts]
    look_s, looks = timed(lambda: [found.at(*place) for place in places], repeats)
    each_us = (looks[0] / LOOK_UPS * 1e6, looks[1] / LOOK_UPS * 1e6)
    size = f"{len(RTTS_S)} RTTs × {len(LOADS_PER_S)} loads"
    told = f"{name}: {size}, {found.exact} plans without load, {len(found.plans)} with ({found.cuts} asked for)"
    return [
        figure(told, spent_s, "s", GRID_TARGET_S, spread=spread),
        figure(
            f"{name}: looking up goodput, RTT and load",
            look_s / LOOK_UPS * 1e6,
            "µs",
            LOOK_UP_TARGET_US,
            spread=each_us,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    repeats = 3 if options.quick else 10
    found = []
    for name, graph in zoo_graphs():
        raw = two_tiers(graph)
        for kind, problem in ((f"{name}, raw", raw), (f"{name}, codecs", with_codecs(raw))):
            found += figures_of(kind, problem, repeats) + grid_figures_of(kind, problem, repeats)
    report("atlas", found, options.json)


if __name__ == "__main__":
    main()
