"""The picture of a plan: whole, legible, and the same for the same plan."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from isthmus.plot import plan_svg, units
from isthmus.plot.boxes import boxes_of
from isthmus.plot.placements import unsplit_curves
from isthmus.plot.svg import shortened, text_width
from isthmus.plot.tracks import columns_of, strip_of
from partitioner.cost import evaluate
from partitioner.graph import Graph
from partitioner.plan import Certificate, Plan
from partitioner.problem import Problem
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.mincut import solve
from tests.partitioner.builders import chain_graph, graph_of, line_of, random_problem, simple_problem
from tests.pictures import SVG, Rectangle, drawn, overlap, overlapping, texts, words

ROOT = Path(__file__).resolve().parents[2]
LOW, HIGH = 1e4, 1e8


def split_over(problem: Problem, *counts: int) -> Plan:
    """So many operators on each site in turn."""
    pairs = zip(problem.sites, counts, strict=True)
    return evaluate(problem, [site for site, count in pairs for _ in range(count)])


def residual_graph(blocks: int) -> Graph:
    """Blocks of three operators in a row with a way around them: four operators each."""
    reads, last = [], "x"
    for i in range(blocks):
        reads += [[last], [f"t{4 * i}"], [f"t{4 * i + 1}"], [f"t{4 * i + 2}", last]]
        last = f"t{4 * i + 3}"
    return graph_of(reads, {}, [last], {})


def shrinking() -> Problem:
    """A chain of six whose tensors get smaller, over a camera ten times slower than the mec."""
    sizes = {"x": 50000, **{f"t{i}": 30000 // (i + 1) ** 2 for i in range(6)}}
    graph = graph_of([["x"], *([f"t{i}"] for i in range(5))], sizes, ["t5"], {})
    return simple_problem(graph, line_of([1e6], slowdowns=(10,)), 0.002)


def atlas_of(problem: Problem) -> Atlas:
    found = atlas(problem, ("camera", "mec"), LOW, HIGH)
    assert isinstance(found, Atlas)
    return found


def boxes(svg: str) -> list[tuple[int, Rectangle]]:
    """How many operators each box holds, and where it is."""
    found = []
    for one in drawn(svg).iter(f"{SVG}rect"):
        if "data-operators" in one.attrib:
            x, y, width, height = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
            found.append((int(one.attrib["data-operators"]), (x, y, x + width, y + height)))
    return found


def pictures() -> Iterator[str]:
    for seed in range(6):
        problem = random_problem(seed, 2, 9)
        plan = solve(problem)
        if isinstance(plan, Plan):
            found = atlas(problem, ("camera", "mec"), LOW, HIGH)
            yield plan_svg(problem.graph, plan, found if isinstance(found, Atlas) else None, problem=problem)
    three = simple_problem(residual_graph(60), line_of([1e6, 1e7]))
    plan = split_over(three, 80, 90, 70)
    yield plan_svg(three.graph, plan)
    back = [replace(plan.crossings[i % 4], sender="s3", receiver=f"s{1 + i % 2}") for i in range(4)]
    yield plan_svg(three.graph, replace(plan, crossings=(*plan.crossings, *back), parallel=True))
    yield plan_svg(shrinking().graph, split_over(shrinking(), 3, 3), atlas_of(shrinking()), problem=shrinking())


PICTURES = tuple(pictures())


@pytest.mark.parametrize("svg", PICTURES, ids=range(len(PICTURES)))
def test_no_words_lie_over_others_or_off_the_page(svg: str) -> None:
    every = list(texts(svg))
    width, height = (float(drawn(svg).attrib[name]) for name in ("width", "height"))
    assert [told for told, (a, b, c, d) in every if a < 0 or b < 0 or c > width or d > height] == []
    assert overlapping(svg) == []


@pytest.mark.parametrize("first", range(4, 48, 4))
def test_labels_stay_on_the_page_wherever_the_cut_is(first: int) -> None:
    problem = simple_problem(residual_graph(12), line_of([1e6]))
    plan = split_over(problem, first, 48 - first)
    slow = [
        replace(one, target="mec", propagation_s=0.00789, transfer_s=0.0123, codec_s=0.00567, software_s=0.00033)
        for one in plan.crossings
    ]
    svg = plan_svg(problem.graph, replace(plan, crossings=tuple(slow)))
    assert [told for told, (left, _, right, _) in texts(svg) if left < 0 or right > 1280] == []
    assert overlapping(svg) == []


@pytest.mark.parametrize("svg", PICTURES, ids=range(len(PICTURES)))
def test_no_box_lies_over_another(svg: str) -> None:
    assert not any(overlap(one, other) for (_, one), (_, other) in combinations(boxes(svg), 2))


@pytest.mark.parametrize("count", [1, 5, 60, 783, pytest.param(8000, marks=pytest.mark.slow)])
def test_every_operator_is_in_a_box_and_large_models_stay_on_a_page(count: int) -> None:
    blocks = residual_graph(count // 4 + 1)
    problem = simple_problem(blocks, line_of([1e6]))
    svg = plan_svg(blocks, split_over(problem, count // 2, len(blocks.operators) - count // 2))
    assert sum(held for held, _ in boxes(svg)) == len(blocks.operators)
    assert float(drawn(svg).attrib["height"]) < 1500


@pytest.mark.slow
def test_the_same_plan_gives_the_same_text_in_every_process() -> None:
    command = [sys.executable, "-c", "from tests.isthmus.test_plot import PICTURES; print(PICTURES)"]
    told = [
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert told[0].stdout == told[1].stdout != b""


def test_a_straight_run_is_one_box_and_branches_and_cuts_stay() -> None:
    problem = simple_problem(residual_graph(3), line_of([1e6]))
    first, last = split_over(problem, 4, 8).stages
    held = [box.operators for box in boxes_of(problem.graph, last, runs=True).boxes if box.operators]
    assert held == [(4,), (5, 6), (7,), (8, 9, 10), (11,)]
    assert [box.operators for box in boxes_of(problem.graph, first, runs=True).boxes if box.at_cut] == [(0,), (3,)]


@pytest.mark.parametrize("seed", range(30))
def test_no_way_runs_through_a_box_or_along_another_boxs_way(seed: int) -> None:
    problem = random_problem(seed, 2, 14)
    site = problem.sites[0]
    stage = evaluate(simple_problem(problem.graph, line_of([1e6])), [replace(site, node="camera")] * 14).stages[0]
    strip = strip_of(boxes_of(problem.graph, stage, runs=False), 5)
    taken = dict(zip(zip(strip.columns, strip.tracks, strict=True), range(len(strip.columns)), strict=True))
    assert len(taken) == len(strip.columns)
    for way in strip.ways:
        for column in range(strip.columns[way.source] + 1, strip.columns[way.target]):
            assert way.track is not None
            assert taken.setdefault((column, way.track), way.source + 1000) == way.source + 1000
    assert all(end - first <= 5 for first, end in strip.rows)


def test_readers_stand_right_of_what_they_read() -> None:
    problem = random_problem(3, 2, 14)
    stage = evaluate(
        simple_problem(problem.graph, line_of([1e6])), [replace(problem.sites[0], node="camera")] * 14
    ).stages[0]
    made = boxes_of(problem.graph, stage, runs=True)
    columns = columns_of(made)
    assert made.edges
    assert all(columns[sender] < columns[reader] for sender, reader in made.edges)


def test_crossings_say_where_what_how_much_and_how_long() -> None:
    plan = split_over(shrinking(), 3, 3)
    told = words(plan_svg(shrinking().graph, plan))
    crossing = next(one for one in plan.crossings if one.sender == "s1" and one.receiver == "s2")
    size, spent = units.nbytes(crossing.nbytes), units.seconds(crossing.seconds)
    assert f"camera → mec · {size} · {spent}" in told
    assert "t2 as raw" in told


def test_the_curve_marks_every_breakpoint_and_numbers_every_plan() -> None:
    problem = shrinking()
    found = atlas_of(problem)
    svg = plan_svg(problem.graph, split_over(problem, 3, 3), found, problem=problem)
    marks = [one for one in drawn(svg).iter(f"{SVG}circle") if one.get("class") == "breakpoint"]
    assert len(marks) == len(found.entries) - 1 > 1
    assert {str(i + 1) for i in range(len(found.entries))} <= set(words(svg))
    assert any(told.startswith("today: 8 Mbps") for told in words(svg))


def test_a_node_that_may_not_hold_all_has_no_curve() -> None:
    problem = shrinking()
    assert set(unsplit_curves(problem, atlas_of(problem))) == {"camera", "mec"}
    private = replace(problem, private=frozenset({"x"}))
    curves = unsplit_curves(private, atlas_of(private))
    assert set(curves) == {"camera"}
    alone = evaluate(private, [private.sites[0]] * 6).predicted.latency_s
    assert [seconds for _, seconds in curves["camera"]] == pytest.approx([alone] * len(curves["camera"]))


def test_the_certificate_tells_gap_and_bound() -> None:
    proof = Certificate(status="gap", objective="energy", cost_model="additive", lower_bound=2.5, gap=0.03, method="m")
    told = words(plan_svg(shrinking().graph, replace(split_over(shrinking(), 3, 3), certificate=proof)))
    assert "gap 3.0%, bound 2.5 J for energy, additive costs; m" in told


def test_names_may_hold_anything() -> None:
    graph = replace(chain_graph(3), name='<a & "b">\x00]]>')
    problem = simple_problem(graph, line_of([1e6]))
    svg = plan_svg(graph, split_over(problem, 1, 2))
    assert any(told.startswith('<a & "b">]]>: split over') for told in words(svg))


def test_plan_of_another_model_is_refused() -> None:
    with pytest.raises(KeyError):
        plan_svg(chain_graph(2), split_over(simple_problem(chain_graph(5), line_of([1e6])), 2, 3))


def test_words_are_shortened_in_the_middle_until_they_fit() -> None:
    told = shortened("block12_project_conv_weights", 11, 100)
    assert told.startswith("block")
    assert told.endswith("ghts")
    assert text_width(told, 11) <= 100 < text_width("block12_project_conv_weights", 11)


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "0 ms"), (2.5e-4, "250 µs"), (0.0341, "34.1 ms"), (0.9999, "1 s"), (125.0, "125 s")]
)
def test_seconds_are_told_with_a_unit_and_three_digits(value: float, told: str) -> None:
    assert units.seconds(value) == told
