"""The topology as a map: cells, machines and wires by how busy they were, and where users are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan

from isthmus.plot import units
from isthmus.plot.simulation.figures import Estimates, mean_of, share_told
from isthmus.plot.simulation.labels import Labels
from isthmus.plot.simulation.latency import colour_of
from isthmus.plot.simulation.load import FULL, STEPS, UNKNOWN, foreseen_rho, load_colour
from isthmus.plot.simulation.places import Layout, layout_of, outline_m
from isthmus.plot.simulation.scale import MARGIN, SMALL, WIDTH, heading, title
from isthmus.plot.svg import FAINT, INK, RULE, element, line, page, path, rect, shortened, text, text_width
from partitioner.topology import Tier
from simulations.results import Outcome, Results
from simulations.scenario import Group, Wire

INSET = 4.0  # between outlines of groups in the same area


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cell or a machine: which shape, and the share of its time that it worked, with a ρ ≥ 1 if one was foreseen."""

    name: str
    shape: str  # "cell", "edge" or "cloud"
    busy: float
    rho: float | None

    @property
    def colour(self) -> str:
        """By how busy it was; as full if it was foreseen to be."""
        return FULL if self.rho is not None else load_colour(self.busy)

    @property
    def words(self) -> str:
        """Name and load."""
        over = f", ρ = {units.digits(self.rho)} ▲" if self.rho is not None else ""
        return f"{self.name} {_rounded(self.busy)}{over}" if isfinite(self.busy) else f"{self.name}{over}"


def _rounded(share: float) -> str:
    return "under 1 %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


def map_svg(results: Results, figures: Estimates) -> str:
    """Cells at their places, all at one scale; loads are means over replications, those of wires the first one's."""
    scenario = results.scenario
    name = f"{scenario.name}: map"
    parts, top = heading(name, ("shapes and wires by the share of the time that they worked",))
    many = len(scenario.cells) + len(scenario.machines)
    radius = 11.0 if many <= 20 else 8.0 if many <= 80 else 5.0
    layout = layout_of(scenario, top, radius)
    sites = sites_of(results, figures)
    parts.append(
        rect(
            layout.left, layout.top, layout.right - layout.left, layout.bottom - layout.top, fill="#fbfcfd", stroke=RULE
        )
    )
    if layout.in_strip:
        parts.append(text(MARGIN, top + 8, "elsewhere", size=11, fill=FAINT))
    parts += [part for number in range(len(scenario.groups)) for part in _users(scenario.groups, number, layout)]
    parts += _wires(results, layout)
    parts += [_shape(site, *layout.spots[site.name], radius, site.name in layout.unplaced) for site in sites]
    parts += _named(sites, layout, radius)
    parts += _ruler(layout)
    keyed, bottom = _key(scenario.groups, layout.bottom + 26, bool(layout.unplaced - set(layout.in_strip)))
    described = "; ".join(site.words for site in sites)
    return page(WIDTH, bottom, name, f"{described}.", [*parts, *keyed])


def sites_of(results: Results, figures: Estimates) -> list[Site]:
    """All cells, then all machines but users' own."""
    rho = foreseen_rho(results)
    found = []
    for cell in results.scenario.cells:
        keys = [f"{cell.name}.{way}_load" for way in ("up", "down")]
        busy = [mean for key in keys if isfinite(mean := mean_of(figures, key))]
        over = [rho[key] for key in keys if rho.get(key, 0.0) >= 1]
        found.append(Site(name=cell.name, shape="cell", busy=max(busy, default=nan), rho=max(over, default=None)))
    for machine in results.scenario.machines:
        if machine.node.tier is not Tier.DEVICE:
            key = f"{machine.node.name}.utilisation"
            shape = "edge" if machine.node.tier is Tier.EDGE else "cloud"
            over = [rho[key]] if rho.get(key, 0.0) >= 1 else []
            busy_share = mean_of(figures, key)
            found.append(Site(name=machine.node.name, shape=shape, busy=busy_share, rho=max(over, default=None)))
    return found


def _users(groups: Sequence[Group], number: int, layout: Layout) -> Iterator[str]:
    """A group's area, lightly; those in the same area within each other."""
    group, colour = groups[number], colour_of(number)
    told = title(f"{group.name}: {group.count}")
    spots = [layout.spot(*point) for point in outline_m(group)]
    if group.moving.path:
        steps = [step for spot in spots for step in ("L", *spot)]
        yield element(
            "g", told, path(["M", *steps[1:]], stroke=colour, width=7, stroke_opacity=0.3, stroke_linejoin="round")
        )
        return
    same = sum(other.moving.area == group.moving.area and not other.moving.path for other in groups[:number])
    left, bottom = spots[0]
    right, top = spots[2]
    inset = min(INSET * same, (right - left) / 3, (bottom - top) / 3)
    yield element(
        "rect", told, x=left + inset, y=top + inset, width=max(right - left - 2 * inset, 1),
        height=max(bottom - top - 2 * inset, 1), fill="none" if same else colour, fill_opacity=0.06, stroke=colour,
        stroke_opacity=0.8, stroke_width=1.4, stroke_dasharray="5 3", rx=3,
    )  # fmt: skip


def wire_loads(outcome: Outcome, wires: Sequence[Wire]) -> dict[tuple[str, str], tuple[float, bool]]:
    """By ends, in the order of names: the share of its rate that was used, of the busier direction; whether it failed.

    NaN where it was never sampled.
    """
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for wire in wires:
        name = f"{wire.source}→{wire.target}"
        could, sent = (outcome.series.get(f"{name}.{what}", ()) for what in ("bits_per_s", "sent_bits_per_s"))
        share = sum(sent) / sum(could) if could and sum(could) > 0 else nan
        ends = min(wire.source, wire.target), max(wire.source, wire.target)
        before, failed = found.get(ends, (nan, False))
        worst = max((one for one in (before, share) if isfinite(one)), default=nan)
        found[ends] = worst, failed or any(rate == 0 for rate in could)
    return found


def _wires(results: Results, layout: Layout) -> Iterator[str]:
    if not results.outcomes:
        return
    for ends, (share, failed) in wire_loads(results.outcomes[0], results.scenario.wires).items():
        (x1, y1), (x2, y2) = (layout.spots.get(end, (nan, nan)) for end in ends)
        if not isfinite(x1 + x2):
            continue  # to a kind of device, which has no place
        told = f"{ends[0]} ↔ {ends[1]}: {share_told(share)} of its rate used{'; down at times' if failed else ''}"
        colour = load_colour(share)
        yield element(
            "g", title(told), line(x1, y1, x2, y2, stroke="#7b8794", width=5),
            line(x1, y1, x2, y2, stroke=colour, width=3),
            *((line(x1, y1, x2, y2, stroke=INK, width=1.2, stroke_dasharray="2 5"),) if failed else ()),
        )  # fmt: skip


def _shape(site: Site, x: float, y: float, radius: float, unplaced: bool) -> str:
    """A hexagon for a cell, a square for an edge machine, a wide box for the cloud; dashed where no place is given."""
    if site.shape == "cell":
        half, rise = radius / 2, radius * 0.866
        steps: list[str | float] = ["M", x - radius, y, "L", x - half, y - rise, "L", x + half, y - rise]
        steps += ["L", x + radius, y, "L", x + half, y + rise, "L", x - half, y + rise, "Z"]
        drawn = path(steps, stroke=INK, width=1.6, fill=site.colour)
    else:
        wide = radius * (1.6 if site.shape == "cloud" else 0.9)
        drawn = rect(
            x - wide, y - radius * 0.9, 2 * wide, radius * 1.8, fill=site.colour, stroke=INK, stroke_width=1.6,
            stroke_dasharray="3 2" if unplaced and site.shape == "edge" else None,
            rx=radius * 0.8 if site.shape == "cloud" else 1,
        )  # fmt: skip
    parts = [title(site.words), drawn]
    if site.rho is not None:
        parts.append(element("circle", cx=x, cy=y, r=radius + 5, fill="none", stroke=FULL, stroke_width=2))
    return element("g", *parts)


def _named(sites: Sequence[Site], layout: Layout, radius: float) -> Iterator[str]:
    """Names where there is room: overloaded ones first, then machines, then the busiest cells."""
    bounds = (layout.left + 2, layout.top - (98 if layout.in_strip else -2), layout.right - 2, layout.bottom - 2)
    half = {site.name: radius + (6 if site.rho is not None else 0) for site in sites}
    boxes = [(x - half[name], y - half[name], x + half[name], y + half[name]) for name, (x, y) in layout.spots.items()]
    labels = Labels(bounds, boxes)
    labels.take(_ruler_box(layout))

    def order(site: Site) -> tuple[bool, bool, float]:
        return site.rho is None, site.shape == "cell", -site.busy if isfinite(site.busy) else 0.0

    for site in sorted(sites, key=order):
        x, y = layout.spots[site.name]
        off = half[site.name] + (0.6 * radius if site.shape == "cloud" else 0.0) + 6
        yield from labels.place(
            x, y, site.words, off=off, bold=site.rho is not None, above=site.name in layout.in_strip[::2]
        )


def _ruler_m(layout: Layout) -> float:
    wanted = 130 / layout.px_per_m
    return max(
        (digit * 10.0**power for power in range(-2, 7) for digit in (1, 2, 5) if digit * 10.0**power <= wanted),
        default=wanted,
    )


def _ruler_box(layout: Layout) -> tuple[float, float, float, float]:
    width = _ruler_m(layout) * layout.px_per_m
    return layout.left + 8, layout.bottom - 32, layout.left + 20 + max(width, 60), layout.bottom - 4


def _ruler(layout: Layout) -> Iterator[str]:
    """How long some metres are."""
    metres = _ruler_m(layout)
    left, y = layout.left + 14, layout.bottom - 10
    right = left + metres * layout.px_per_m
    words = f"{units.digits(metres / 1000)} km" if metres >= 1000 else f"{units.digits(metres)} m"
    yield path(["M", left, y - 5, "V", y, "H", right, "V", y - 5], stroke=INK, width=1.6)
    yield text(left + 4, y - 7, words, size=11)


def _key(groups: Sequence[Group], top: float, has_beside: bool) -> tuple[list[str], float]:
    """What shapes and colours mean, and whose areas are whose."""
    parts: list[str] = []
    x = MARGIN
    for words, colour in _steps():
        parts += [rect(x, top - 11, 20, 13, fill=colour, stroke=FAINT), text(x + 26, top, words, size=SMALL)]
        x += 46 + text_width(words, SMALL)
    told = "hexagon: cell · square: edge · wide: cloud · black dots on a wire: down at times"
    told += " · dashed square: place not given" if has_beside else ""
    parts.append(text(MARGIN, top + 22, told, size=SMALL, fill=FAINT))
    x, y = MARGIN, top + 46
    for number, group in enumerate(groups):
        words = shortened(f"{group.name}: {group.count}", SMALL, 240)
        width = 46 + text_width(words, SMALL)
        if x + width > WIDTH - MARGIN:
            x, y = MARGIN, y + 20
        colour = colour_of(number)
        parts.append(
            rect(
                x,
                y - 11,
                20,
                13,
                fill=colour,
                fill_opacity=0.15,
                stroke=colour,
                stroke_width=1.4,
                stroke_dasharray="5 3",
            )
        )
        parts.append(text(x + 26, y, words, size=SMALL))
        x += width
    return parts, y + 20


def _steps() -> list[tuple[str, str]]:
    named = [(f"under {share_told(below)}", colour) for below, colour in STEPS]
    return [*named, ("full, or ρ ≥ 1 (▲, ring)", FULL), ("not known", UNKNOWN)]
