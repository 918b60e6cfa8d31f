"""Simulations as pictures and as a page: true to the figures, whole, legible, and from nowhere else."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from math import hypot, inf, log, nan, sin
from pathlib import Path
from random import Random
from typing import Any

import pytest

from isthmus.plot.simulation import html_page, pareto_svg, write_fronts, write_plots
from isthmus.plot.simulation.figures import estimates_of, value_told
from isthmus.plot.simulation.front import front, shortly
from isthmus.plot.simulation.happenings import changes_told, clock
from isthmus.plot.simulation.latency import latency_svg, spreads_of
from isthmus.plot.simulation.load import foreseen_rho, load_colour, load_svg
from isthmus.plot.simulation.pictures import pictures
from isthmus.plot.simulation.places import layout_of
from isthmus.plot.simulation.report import shown_notes
from isthmus.plot.simulation.scale import Scale
from isthmus.plot.simulation.timeline import timeline_svg
from isthmus.plot.simulation.topology_map import sites_of, wire_loads
from simulations.comparing import compare
from simulations.results import Note, Outcome, Results
from simulations.running import run
from simulations.scenario import Change, Scenario
from simulations.scenario_file import parse_scenario
from tests.pictures import SVG, drawn, overlapping, texts, words

GROUPS = ("cameras", "walkers-in-the-old-town-centre-of-the-city", "trams", "drones", "robots", "glasses")
DEADLINES_MS = (100, 100, 200, 210, 220, 1000)
OVERLOADS = (
    "cell c00, up: ρ = 1.54, its queue grows as long as that lasts",
    "node cloud: ρ = 2.10, its queue grows as long as that lasts",
    "users cameras: their own device phone: ρ = 1.20, its queue grows as long as that lasts",
)


def scenario_of(cells: int = 2, groups: int = 1, timeline: Sequence[dict[str, Any]] = (), **more: Any) -> Scenario:
    """Cells in rows of eight, an edge host for every five of them, a regional site and a cloud that are nowhere."""
    hosts = max(1, cells // 5)
    area = (-200.0, -2000.0, 3900.0, 200.0) if cells > 8 else (-200.0, -200.0, 300.0 * cells, 200.0)
    data: dict[str, Any] = {
        "name": f"city-{cells}",
        "duration_s": 3600,
        "warmup_s": 60,
        "cells": [
            {"name": f"c{i:02d}", "at_m": [i % 8 * 500, -(i // 8) * 430], "band": {"ghz": 3.5, "mhz": 40}}
            for i in range(cells)
        ],
        "nodes": [{"name": "phone", "tier": "device", "like": "phone"}]
        + [{"name": f"mec-{i}", "tier": "edge", "like": "server"} for i in range(hosts)]
        + [{"name": "regional", "tier": "edge", "like": "server"}]
        + [{"name": "cloud", "tier": "cloud", "like": "server"}],
        "links": [{"between": [f"c{i:02d}", f"mec-{i // 5 % hosts}"], "mbps": 1000, "rtt_ms": 1} for i in range(cells)]
        + [{"between": [f"mec-{i}", "regional"], "mbps": 10000, "rtt_ms": 5} for i in range(hosts)]
        + [{"between": ["regional", "cloud"], "mbps": 10000, "rtt_ms": 20}],
        "pipelines": [
            {"name": "p", "input_kb": 50, "steps": [{"name": "a", "ms": {"phone": 9, "server": 1}, "out_kb": 1}]}
        ],
        "users": [
            {"name": GROUPS[i], "count": 5, "device": "phone", "pipeline": "p",
             "moving": {"area_m": [-60, -60, 60, 60]}, "asking": {"per_s": 1}, "deadline_ms": DEADLINES_MS[i]}
            for i in range(groups)
        ],
        "timeline": list(timeline),
    }  # fmt: skip
    read = parse_scenario(data | more, where="test", folder=Path())
    # As wide as the cells only now: who is out of coverage is refused when read.
    return replace(read, groups=tuple(replace(one, moving=replace(one.moving, area=area)) for one in read.groups))


def changing(count: int) -> list[dict[str, Any]]:
    kinds: tuple[dict[str, Any], ...] = (
        {"link": ["regional", "cloud"], "mbps": 10},
        {"node": "mec-0", "is": "down"},
        {"users": "cameras", "ask_times": 3},
    )
    return [{"at_s": 100 * (1 + i) + i % 3 * 5, **kinds[i % 3]} for i in range(count)]


def outcome_of(scenario: Scenario, draw: Random, **more: Any) -> Outcome:
    """An hour of made-up figures, some of them missing."""
    series = {"at_s": tuple(12.0 * (i + 1) for i in range(300))}
    latency = [0.05 + 0.02 * draw.random() + (3 if 100 < i < 110 else 0) for i in range(300)]
    latency[:20] = [nan] * 20
    latency[150:170] = [nan if i != 160 else 0.2 for i in range(150, 170)]
    series |= {"latency_mean_s": tuple(latency), "answered_per_s": tuple(100 + draw.gauss(0, 8) for _ in range(300))}
    series["failed_per_s"] = tuple(max(0.0, draw.gauss(0, 3)) for _ in range(300))
    figures = {"ue_j": 1e6, "mec_j": 2e6, "cloud_j": nan, "wires_j": 1.0, "energy_j": 3e6, "cost_usd": 15.0}
    figures |= {"machines_usd": 12.0, "wires_usd": 3.0, "switches": 7.0}
    for cell in scenario.cells:
        base = draw.uniform(5e6, 4e7)
        series[f"{cell.name}.up_bits_per_s"] = tuple(
            nan if i % 17 == 0 else base * (1 + sin(i / 30) / 5) for i in range(300)
        )
        figures |= {f"{cell.name}.up_load": draw.random(), f"{cell.name}.down_load": draw.random() / 5}
    for wire in scenario.wires:
        name = f"{wire.source}→{wire.target}"
        rates = [0.0 if "cloud" in name and 100 <= i < 200 else wire.bits_per_s for i in range(300)]
        series |= {f"{name}.bits_per_s": tuple(rates), f"{name}.sent_bits_per_s": tuple(one / 4 for one in rates)}
    figures |= {f"{one.node.name}.utilisation": draw.random() for one in scenario.machines if one.node.tier}
    cdf = {}
    for name in ("all", *(group.name for group in scenario.groups)):
        seconds = sorted(draw.lognormvariate(draw.uniform(-3, -2), 0.6) for _ in range(400))
        cdf[name] = tuple(seconds), tuple((i + 1) / 400 for i in range(400))
        owner = "" if name == "all" else f"{name}."
        figures |= {f"{owner}answered_per_s": 100.0, f"{owner}failed_share": 0.01, f"{owner}latency_p99_s": 0.2}
    kinds = ("switch", "keep", "prepare")
    notes = [Note(draw.uniform(-5, 3600), "p@c00", kinds[i % 3], i, "<why> & so") for i in range(600)]
    told: dict[str, Any] = {"figures": figures, "series": series, "latency_cdf": cdf, "overloads": OVERLOADS}
    told["notes"] = tuple(sorted(notes, key=lambda note: note.at_s))
    return Outcome(replication=0, **(told | more))


def results_of(scenario: Scenario, count: int = 2, **more: Any) -> Results:
    draw = Random(7)
    return Results(scenario=scenario, outcomes=tuple(outcome_of(scenario, draw, **more) for _ in range(count)))


SWEEP = [
    (f"users[0].count={count}, policy.kind={kind}",
     {"latency_p95_s": (0.004 * count * (1 + turn / 3), 0.01 if count < 80 else None),
      "energy_j": (50_000 / count * (1 + turn / 5), 300.0), "cost_usd": (1 + turn, 0.1)})
    for count in (10, 20, 40, 80) for turn, kind in enumerate(("adaptive", "device", "edge", "cloud"))
]  # fmt: skip
CITIES = {
    cells: results_of(scenario_of(cells, groups, changing(changes)))
    for cells, groups, changes in ((1, 1, 0), (6, 6, 5), (40, 6, 30))
}
PICTURES = {
    f"{cells}-{name}": svg for cells, city in CITIES.items() for name, svg in pictures(city, sweep=SWEEP).items()
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_lie_over_others_or_off_the_page_or_are_tiny(name: str) -> None:
    svg = PICTURES[name]
    width, height = (float(drawn(svg).attrib[key]) for key in ("width", "height"))
    assert [told for told, (a, b, c, d) in texts(svg) if a < 0 or b < 0 or c > width or d > height] == []
    assert overlapping(svg) == []
    assert [one.text for one in drawn(svg).iter(f"{SVG}text") if float(one.attrib["font-size"]) < 11] == []


def bars_of(svg: str) -> list[tuple[str, float]]:
    """What each rectangle with a title says, and its width."""
    found = [(one.findtext(f"{SVG}title"), float(one.attrib["width"])) for one in drawn(svg).iter(f"{SVG}rect")]
    return [(told, width) for told, width in found if told is not None]


def paths_of(svg: str, stroke: str) -> list[str]:
    return [one.attrib["d"] for one in drawn(svg).iter(f"{SVG}path") if one.get("stroke") == stroke]


def cdf_of(*seconds: float) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    there = tuple(sorted(seconds)), tuple((i + 1) / len(seconds) for i in range(len(seconds)))
    return {"all": there, GROUPS[0]: there}


def test_replications_weigh_in_the_distribution_as_much_as_they_answered() -> None:
    scenario = scenario_of()
    fast = Outcome(replication=0, figures={"cameras.answered_per_s": 1.0}, latency_cdf=cdf_of(0.1))
    slow = Outcome(replication=1, figures={"cameras.answered_per_s": 3.0}, latency_cdf=cdf_of(0.5, 1.0))
    (spread,) = spreads_of(Results(scenario=scenario, outcomes=(fast, slow)))
    assert [spread.within(at_s) for at_s in (0.05, 0.1, 0.5, 1.0)] == [0, 0.25, 0.625, 1]
    assert (spread.quantile_s(0.25), spread.quantile_s(0.5), spread.quantile_s(0.95)) == (0.1, 0.5, 1.0)


def test_quantiles_and_the_deadline_stand_where_they_are_on_a_logarithmic_axis() -> None:
    one = results_of(scenario_of(), 1, latency_cdf=cdf_of(*(0.001 * (i + 1) for i in range(1000))))
    picture = drawn(latency_svg(one))
    middles = [float(circle.attrib["cx"]) for circle in picture.iter(f"{SVG}circle")]
    assert [circle.findtext(f"{SVG}title") for circle in picture.iter(f"{SVG}circle")] == [
        "cameras, p50: 500 ms", "cameras, p95: 950 ms", "cameras, p99: 990 ms",
    ]  # fmt: skip
    (deadline,) = [
        float(one.attrib["x1"]) for one in picture.iter(f"{SVG}line") if one.get("stroke-dasharray") == "6 4"
    ]
    assert (middles[0] - deadline) / (middles[1] - middles[0]) == pytest.approx(log(5) / log(1.9), rel=1e-3)


def test_a_line_breaks_where_a_sample_is_missing_and_a_sample_alone_is_a_dot() -> None:
    values = (nan, 0.1, 0.2, nan, 0.3, nan, 0.2, 0.1)
    city = results_of(scenario_of(), 1, series={"at_s": tuple(range(8)), "latency_mean_s": values})
    svg = timeline_svg(city)
    assert [d.count("M") for d in paths_of(svg, "#0072b2")] == [2]
    assert len([one for one in drawn(svg).iter(f"{SVG}circle") if one.get("fill") == "#0072b2"]) == 1


def test_each_switch_of_the_first_replication_has_a_mark_but_not_the_first_plan() -> None:
    notes = tuple(
        Note(at_s, "p@c00", what, 1, "") for at_s, what in ((-4, "switch"), (3, "keep"), (5, "switch"), (9, "switch"))
    )
    svg = timeline_svg(results_of(scenario_of(), 2, notes=notes))
    assert "2 ×" in words(svg)
    assert len([one for one in drawn(svg).iter(f"{SVG}path") if one.get("fill") == "#8f3a75"]) == 2


def test_both_directions_of_a_wire_that_change_alike_are_one_change() -> None:
    alike = [Change(at_s=9, wire=ends, bits_per_s=2e7) for ends in (("b", "a"), ("a", "b"))]
    apart = [Change(at_s=20, wire=("a", "b"), is_up=False), Change(at_s=20, node="n", is_up=False)]
    again = [Change(at_s=30, node="n"), Change(at_s=30, group="g", times=3.0), Change(at_s=30, wire=("a", "b"))]
    assert changes_told([*again, *alike, *apart]) == [
        (9, "b ↔ a: 20 Mbps"),
        (20, "a → b is down; n is lost"),
        (30, "n is back; g ask at 3 × their rate; a → b is up"),
    ]  # fmt: skip


def test_every_change_is_told_by_number_and_what_is_too_many_is_counted() -> None:
    told = words(PICTURES["40-timeline"])
    assert "and 18 more" in told
    assert {"mec-0 is lost", "regional ↔ cloud: 10 Mbps"} <= set(told)
    assert words(PICTURES["6-timeline"]).count("5") == 2  # above the panels, and in the list


def test_of_many_wires_those_that_change_are_drawn_and_the_others_counted() -> None:
    told = words(PICTURES["40-timeline"])
    assert "wires that change; 48 keep their rates" in told
    assert "regional ↔ cloud" in told
    assert "median of 40 cells" in told


def test_the_clock_changes_its_form_after_ten_minutes() -> None:
    assert [clock(at_s) for at_s in (-4.65, 0, 599, 1000, 3910)] == ["-4.65 s", "0 s", "599 s", "16:40", "1:05:10"]


def test_a_map_has_one_scale_and_places_what_has_no_place() -> None:
    scenario = scenario_of(10)
    layout = layout_of(scenario, 60, 11)
    (x0, y0), (x1, y1), (_, y8) = (layout.spots[name] for name in ("c00", "c01", "c08"))
    assert y1 == pytest.approx(y0)
    assert (x1 - x0) / 500 == pytest.approx((y8 - y0) / 430)
    assert layout.spots["cloud"][1] < layout.top < layout.spots["mec-0"][1] < layout.bottom
    assert layout.in_strip == ("regional", "cloud")
    assert layout.unplaced == {"mec-0", "mec-1", "regional", "cloud"}


def test_a_machine_with_a_place_stands_there() -> None:
    scenario = scenario_of(2)
    machines = tuple(replace(one, at_m=(250, 0)) if one.node.name == "mec-0" else one for one in scenario.machines)
    spots = layout_of(replace(scenario, machines=machines), 60, 11).spots
    assert spots["mec-0"] == pytest.approx([(a + b) / 2 for a, b in zip(spots["c00"], spots["c01"], strict=True)])


@pytest.mark.parametrize("cells", [1, 5, 40])
def test_nothing_on_a_map_stands_on_something_else(cells: int) -> None:
    spots = layout_of(scenario_of(cells), 60, 8).spots.values()
    assert min(hypot(a - c, b - d) for (a, b), (c, d) in combinations(spots, 2)) > 16


def test_a_wire_is_as_busy_as_its_busier_direction_and_remembers_that_it_failed() -> None:
    wires = [one for one in scenario_of(1).wires if "cloud" in (one.source, one.target)]
    series = {
        "regional→cloud.bits_per_s": (10.0, 0.0), "regional→cloud.sent_bits_per_s": (5.0, 0.0),
        "cloud→regional.bits_per_s": (10.0, 10.0), "cloud→regional.sent_bits_per_s": (2.0, 2.0),
    }  # fmt: skip
    assert wire_loads(Outcome(replication=0, figures={}, series=series), wires) == {("cloud", "regional"): (0.5, True)}


def test_loads_step_through_four_blues_and_end_in_vermilion() -> None:
    colours = [load_colour(share) for share in (0.1, 0.3, 0.6, 0.9, 0.999, nan)]
    assert len(set(colours)) == 6
    assert load_colour(0.249) == colours[0] and load_colour(0.25) == colours[1]


def test_what_was_foreseen_to_be_overloaded_is_marked_however_idle_it_was() -> None:
    city = CITIES[6]
    assert foreseen_rho(city) == {"c00.up_load": 1.54, "cloud.utilisation": 2.1, "users cameras": 1.2}
    figures = {"c00.up_load": (0.01, None), "c01.up_load": (0.9, None)}
    svg = load_svg(city, estimates_of(figures))
    told, bars = words(svg), {one.findtext(f"{SVG}title"): one for one in drawn(svg).iter(f"{SVG}rect")}
    assert bars["c00, up ▲: 1 %"].attrib["fill"] == load_colour(inf) != bars["c01, up: 90 %"].attrib["fill"]
    assert {"c00, up ▲", "c01, up", "devices of cameras ▲", "1 % · ρ = 1.54 foreseen"} <= set(told)
    sites = {site.name: site for site in sites_of(city, estimates_of(figures))}
    assert (sites["c00"].colour, sites["c01"].colour) == (load_colour(inf), load_colour(0.9))


def test_of_many_the_overloaded_and_the_busiest_are_shown_and_the_others_counted() -> None:
    told = words(PICTURES["40-load"])
    assert told.index("cloud ▲") < told.index("c00, up ▲") < told.index("devices of cameras ▲")
    assert [one for one in told if re.fullmatch(r"and 61 more, \d.* % busy at most", one)]


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    widths = dict(bars_of(PICTURES["6-spending"]))
    assert widths["edge machines: 2 ± 0 MJ"] == pytest.approx(2 * widths["users' devices: 1 ± 0 MJ"], rel=1e-3)
    assert widths["machines: 12 ± 0 $"] == pytest.approx(4 * widths["wires: 3 ± 0 $"], rel=1e-3)
    assert not any(told.startswith("cloud") for told in widths)  # NaN has no bar


@pytest.mark.parametrize("seed", range(5))
def test_a_front_is_what_no_other_scenario_beats(seed: int) -> None:
    draw = Random(seed)
    points = [
        (str(i), estimates_of({key: (draw.randrange(8), None) for key in ("energy_j", "answered_per_s")}))
        for i in range(12)
    ]
    points.append(("missing", estimates_of({"energy_j": (nan, None), "answered_per_s": (99.0, None)})))
    costs = {name: (of["energy_j"].mean, -of["answered_per_s"].mean) for name, of in points[:-1]}
    unbeaten = {
        a for a, (c, d) in costs.items() if not any(e <= c and f <= d and (e, f) != (c, d) for e, f in costs.values())
    }
    assert {name for name, _ in front(points, "energy_j", "answered_per_s")} == unbeaten


def test_fronts_are_joined_and_their_scenarios_named_by_what_differs() -> None:
    told = words(pareto_svg(SWEEP, "latency_p95_s", "energy_j"))
    assert {"labels: users[0].count, policy.kind", "10, adaptive", "80, adaptive"} <= set(told)
    assert any(one.startswith("4 of 16 scenarios are beaten by no other") for one in told)
    assert shortly([("a", {}), ("b=1", {})]) == ([("a", {}), ("b=1", {})], "")


def test_a_page_stands_alone_and_says_overloads_before_all_else() -> None:
    page = html_page(CITIES[6], sweep=SWEEP)
    assert re.findall(r"<(?:script|link|img|iframe|object|use)\b|\b(?:src|href)=|url\(|@import", page) == []
    assert set(re.findall(r"https?://[^\s\"<]*", page)) == {"http://www.w3.org/2000/svg"}
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids)) == 2 * page.count("<svg ") == 14
    assert 0 < page.index("ρ = 1.54") < page.index("<table") < page.index("<svg ") < page.index("Decisions")


def test_a_page_escapes_what_people_wrote() -> None:
    city = results_of(replace(scenario_of(), about="<b>bold</b> & more", name="x"), 1)
    page = html_page(city)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert "<why>" not in page and "&lt;why&gt; &amp; so" in page


def test_a_page_has_the_figures_of_all_and_each_group_with_intervals() -> None:
    scenario = scenario_of(2, 3)
    outcomes = [
        Outcome(replication=i, figures={"latency_p99_s": 0.2, "trams.latency_p99_s": value})
        for i, value in enumerate((0.1, 0.3))
    ]
    page = html_page(Results(scenario=scenario, outcomes=tuple(outcomes)))
    assert f"<th></th><th>all</th><th>{GROUPS[0]}</th><th>{GROUPS[1]}</th><th>trams</th>" in page
    assert "<td>latency, p99</td><td>200 ± 0 ms</td><td>–</td><td>–</td><td>0.2 ± 1.3 s</td>" in page


def test_figures_that_are_given_take_the_place_of_those_computed() -> None:
    assert "<td>latency, p95</td><td>123.0 ± 4.0 ms</td>" in html_page(
        CITIES[1], figures={"latency_p95_s": (0.123, 0.004)}
    )


def test_a_page_tells_200_decisions_at_most_and_counts_the_others() -> None:
    notes = [Note(i, "p@c00", "switch" if i % 10 == 0 else "keep", i, "") for i in range(500)]
    shown = shown_notes(notes)
    assert len(shown) == 200
    assert [note for note in shown if note.what == "switch"] == notes[::10]
    assert shown == sorted(shown, key=lambda note: note.at_s)
    page = html_page(results_of(scenario_of(), 1, notes=tuple(notes)))
    assert "and 300 more" in page and page.count("<td>p@c00</td>") == 200


def test_a_page_compares_and_sweeps_when_asked_to() -> None:
    other = replace(
        CITIES[1], outcomes=tuple(replace(one, figures={**one.figures, "energy_j": 4e6}) for one in CITIES[1].outcomes)
    )
    page = html_page(CITIES[1], sweep=SWEEP, compared=compare(CITIES[1], other))
    assert (
        '<tr class="real"><td>energy</td><td>3 ± 0 MJ</td><td>4 ± 0 MJ</td><td>+1 ± 0 MJ</td><td>real</td></tr>' in page
    )
    assert "<td>users[0].count=10, policy.kind=adaptive</td><td>40 ± 10 ms</td>" in page
    assert "Compared" not in html_page(CITIES[1]) and "energy against latency" not in html_page(CITIES[1])


def test_plots_are_written_to_a_folder_that_is_made(tmp_path: Path) -> None:
    paths = write_plots(CITIES[1], tmp_path / "new" / "plots", sweep=SWEEP)
    assert [path.name for path in paths] == [f"{name}.svg" for name in (
        "latency", "timeline", "map", "load", "spending", "pareto-energy_j", "pareto-cost_usd",
    )]  # fmt: skip
    assert write_fronts(SWEEP, tmp_path / "new" / "plots") == paths[5:]
    assert [path.read_text(encoding="utf-8") for path in paths] == list(pictures(CITIES[1], sweep=SWEEP).values())


@pytest.mark.parametrize("outcomes", [(), (Outcome(replication=0, figures={}),)])
def test_what_has_nothing_to_show_says_so(outcomes: tuple[Outcome, ...]) -> None:
    nothing = Results(scenario=scenario_of(), outcomes=outcomes)
    told = [one for svg in pictures(nothing, sweep=[("a", {})]).values() for one in words(svg)]
    assert {"nothing was answered, so there is no latency", "neither energy nor cost was counted"} <= set(told)
    assert "shorter than the time between two samples, so there is no course" in told
    assert html_page(nothing).endswith("</html>\n")


@pytest.mark.parametrize(
    ("figure", "value", "told"),
    [("latency_p99_s", 0.1554, "155 ms"), ("answered_per_s", 52.7, "52.7/s"), ("a.up_load", 0.4874, "48.7 %"),
     ("wires_usd", 2.265e-05, "$0.0000227"), ("energy_j", 31650.0, "31.6 kJ"), ("up_bits_per_s", 2.11e7, "21.1 Mbps"),
     ("queue_s", nan, "–"), ("energy_j", -3.0, "-3 J"), ("tries", 1.25, "1.25")],
)  # fmt: skip
def test_values_are_told_in_the_unit_of_their_name(figure: str, value: float, told: str) -> None:
    assert value_told(figure, value) == told


@pytest.mark.parametrize("span", [(0.0, 7.3), (0.0, 0.004), (-3.0, 100.0)])
def test_linear_marks_are_round_even_and_within(span: tuple[float, float]) -> None:
    marks = Scale(*span, 0, 100).marks(6)
    steps = [f"{b - a:.3g}" for a, b in pairwise(marks)]
    assert len(set(steps)) == 1 and steps[0].strip("0.") in {"1", "2", "5"}
    assert 4 <= len(marks) <= 8
    assert span[0] <= marks[0] and marks[-1] <= span[1] + 1e-12


@pytest.mark.parametrize("span", [(0.0021, 0.0029), (0.23, 0.3), (0.001, 900.0), (1.0, 1.001)])
def test_a_logarithmic_axis_has_marks_however_short_or_long_it_is(span: tuple[float, float]) -> None:
    scale = Scale(*span, 0, 900, logarithmic=True)
    marks = scale.marks(6)
    assert 3 <= len(marks) <= 12
    assert all(0 <= scale.at(a) < scale.at(b) <= 900 for a, b in pairwise(marks))


def test_a_run_can_be_drawn(tmp_path: Path) -> None:
    scenario = scenario_of(1, duration_s=4, warmup_s=1, policy={"kind": "device"})
    results = run(scenario, replications=2)
    assert len(write_plots(results, tmp_path)) == 5
    page = html_page(results)
    assert f"2 replications, {sum(one.requests for one in results.outcomes)} requests" in page
    assert overlapping(latency_svg(results)) == overlapping(timeline_svg(results)) == []
    assert "nothing was answered" not in page
