"""What splitting gains over the best unsplit placement, and how often it gains nothing.

Every zoo model over two nodes, a device so many times slower than this machine and a server as fast as it, one thread
of ONNX Runtime each: uplinks of 1 to 1000 Mbps, round trips of 5 to 80 ms, slowdowns of 1 to 16, with and without
codecs, inputs free to leave and private. Each combination is planned by itself; a share is 1 - plan / best unsplit
placement that is allowed, and 0 wherever the planner answers "don't split".

Operators' seconds are measured here, and codecs on photographs (ratio, seconds, output error; kit/measured.py); a lossy
one serves where it alone moves no output by more than 2 % of its largest value. Unsplit placements may use the same
codecs, JPEG of the input included. Links and slowdowns are arithmetic, and segments are sums of operators. Assumed is
what a message costs in software: 0.2 ms and 0.2 ns a byte.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from kit.figures import Figure, figure, report
from kit.heatmap import Panel, Scales, heat_map
from kit.measured import ENGINE, Subject, subjects, tried

from nodes.codec import CODECS
from partitioner.plan import Infeasible
from partitioner.privacy import pixel_forms
from partitioner.problem import Problem, Site
from partitioner.profile import Profile
from partitioner.search.mincut import solve
from partitioner.topology import Link, Node, Tier, Topology

MAX_ERROR = 0.02
MBPS_BYTES_PER_S = 125_000.0
VARIANTS = tuple(product((False, True), (False, True)))  # private input, codecs


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The combinations: Mbps of the uplink, round trips in ms, and how many times slower the device is."""

    mbps: tuple[float, ...]
    rtt_ms: tuple[float, ...]
    slowdowns: tuple[float, ...]
    photos: int = 2
    seconds: float = 0.5  # of timing each model
    rounds: int = 12  # of trying codecs on what the best plans would send


FULL = Grid(mbps=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), rtt_ms=(5, 10, 20, 40, 80), slowdowns=(1, 2, 4, 8, 16))
QUICK = Grid(mbps=(1, 5, 20, 100, 500), rtt_ms=(5, 20, 80), slowdowns=(1, 4, 16), photos=1, seconds=0.2, rounds=5)
PROBED = Grid(
    mbps=(1, 5, 20, 100, 500), rtt_ms=(20,), slowdowns=(1, 4, 16)
)  # where tensors to try codecs on are sought

Shares = list[list[list[float]]]  # by slowdown, round trip, uplink


def site_problem(one: Subject, profile: Profile, *, private: bool, codecs: bool) -> Problem:
    """The model over device and server; `linked` gives it a link and a slowdown."""
    nodes = (
        Node(name="device", tier=Tier.DEVICE, backends=(ENGINE.backend,)),
        Node(name="server", tier=Tier.EDGE, backends=(ENGINE.backend,)),
    )
    return Problem(
        graph=one.graph,
        topology=Topology(nodes),
        profile=profile,
        sites=tuple(Site(node=node.name, engine=ENGINE) for node in nodes),
        source="device",
        outputs_to=dict.fromkeys(one.graph.outputs, "device"),
        private=pixel_forms(one.graph, one.graph.inputs) if private else frozenset(),
        max_error=MAX_ERROR if codecs else 0.0,
        codecs=CODECS if codecs else ("raw",),
    )


def linked(problem: Problem, mbps: float, rtt_ms: float, slowdown: float) -> Problem:
    device, server = problem.topology.nodes
    ends = ((device.name, server.name), (server.name, device.name))
    links = tuple(
        Link(source=a, target=b, bytes_per_s=mbps * MBPS_BYTES_PER_S, propagation_s=rtt_ms / 2e3) for a, b in ends
    )
    return replace(problem, topology=Topology((replace(device, slowdown=slowdown), server), links))


def probes(one: Subject, profile: Profile) -> Iterator[Problem]:
    """The problems whose best plans say on which tensors codecs are worth trying."""
    for private, rtt_ms, slowdown, mbps in product((False, True), PROBED.rtt_ms, PROBED.slowdowns, PROBED.mbps):
        yield linked(site_problem(one, profile, private=private, codecs=True), mbps, rtt_ms, slowdown)


def gain(problem: Problem) -> float:
    """What the plan saves of the best unsplit placement's latency, as a share; 0 if it is one."""
    plan = solve(problem)
    if isinstance(plan, Infeasible):
        raise SystemExit(f"{problem.graph.name}: {plan.detail}")
    if not plan.is_split:
        return 0.0
    return 1 - plan.predicted.latency_s / min(one for one in plan.unsplit_s.values() if one is not None)


def shares_of(problem: Problem, grid: Grid) -> Shares:
    return [
        [[gain(linked(problem, mbps, rtt_ms, slowdown)) for mbps in grid.mbps] for rtt_ms in grid.rtt_ms]
        for slowdown in grid.slowdowns
    ]


def flat(shares: Shares) -> list[float]:
    return [share for group in shares for row in group for share in row]


def told(shares: Sequence[float]) -> str:
    won = [share for share in shares if share > 0]
    often = f"a split wins {len(won)} of {len(shares)}"
    return f"{often}, median gain there {median(won):.1%}, largest {max(won):.1%}" if won else often


def figures_of(name: str, shares: Sequence[float]) -> Iterator[Figure]:
    won = [share * 100 for share in shares if share > 0]
    yield figure(f"{name}: a split wins, of {len(shares)}", len(won), "", better="higher")
    if won:
        spread = (min(won), max(won))
        yield figure(f"{name}: median gain there", median(won), "%", better="higher", spread=spread)


def tried_on(one: Subject, untried: int) -> Iterator[Figure]:
    """On how many tensors codecs were tried, and what the input as pixels or JPEG does to the outputs.

    Above MAX_ERROR no plan may send it so. Tensors left untried cross raw: some gains may be larger than told.
    """
    yield figure(f"{one.name}: tensors that codecs were tried on", len(one.profile.tensors), "")
    yield figure(f"{one.name}: tensors left untried that might be worth coding", untried, "")
    for name, codec in product(one.graph.inputs, ("uint8", "jpeg95")):
        tried_so = one.profile.tensors.get(name, {}).get(codec)
        if tried_so is not None:
            yield figure(f"{one.name}: output error with its input as {codec}", tried_so.error * 100, "%")


def variant_name(private: bool, codecs: bool) -> str:
    return f"{'private' if private else 'public'} input, {'codecs' if codecs else 'raw'}"


def picture(name: str, found: Mapping[tuple[bool, bool], Shares], grid: Grid) -> str:
    scales = Scales(
        column_name="uplink Mbps",
        columns=[f"{one:g}" for one in grid.mbps],
        groups=[f"device ×{one:g}" for one in grid.slowdowns],
        rows=[f"{one:g} ms" for one in grid.rtt_ms],
    )
    panels = [
        Panel(title=variant_name(*variant), told=told(flat(shares)), shares=shares) for variant, shares in found.items()
    ]
    explained = (
        "Per cent of the best allowed unsplit placement's latency that the best split saves; 0: the planner doesn't "
        "split. Rows: how many times slower the device is than the server, and the round trip."
    )
    return heat_map(f"{name}: what splitting gains", explained, scales, panels)


def run(grid: Grid, folder: Path | None) -> list[Figure]:
    found: list[Figure] = []
    every: dict[tuple[bool, bool], list[float]] = {variant: [] for variant in VARIANTS}
    for one in subjects(grid.photos, grid.seconds):
        known, untried = tried(one, partial(probes, one), grid.rounds)
        maps = {
            (private, codecs): shares_of(site_problem(known, known.profile, private=private, codecs=codecs), grid)
            for private, codecs in VARIANTS
        }
        found += tried_on(known, untried)
        for variant, shares in maps.items():
            found += figures_of(f"{one.name}, {variant_name(*variant)}", flat(shares))
            every[variant] += flat(shares)
        if folder is not None:
            (folder / f"wins-{one.name}.svg").write_text(picture(one.name, maps, grid), encoding="utf-8")
    return [*summary(every), *found]


def summary(every: Mapping[tuple[bool, bool], Sequence[float]]) -> Iterable[Figure]:
    """All models together, first everything and then each variant."""
    shares = [share for some in every.values() for share in some]
    if not shares:
        return
    yield from figures_of("all", shares)
    for variant, some in every.items():
        yield from figures_of(f"all, {variant_name(*variant)}", some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer combinations, one photograph")
    parser.add_argument("--svg", type=Path, metavar="DIR", help="write a heat map of each model there")
    options = parser.parse_args()
    if options.svg is not None:
        options.svg.mkdir(parents=True, exist_ok=True)
    report("wins", run(QUICK if options.quick else FULL, options.svg), options.json)


if __name__ == "__main__":
    main()
