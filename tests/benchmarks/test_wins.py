"""benchmarks/wins.py: what it counts as a gain, what it tries codecs on, and that its picture says all of it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from kit import measured
from kit.heatmap import Panel, Scales, heat_map
from wins import Grid, figures_of, flat, gain, linked, shares_of, told

from nodes.codec import CODECS
from nodes.functions import function
from partitioner.problem import Problem
from partitioner.profile import CodecFigure, Profile, TensorFigure
from tests.partitioner.builders import brute_force, chain_graph, graph_of, line_of, simple_problem
from tests.pictures import SVG, drawn, overlapping

SCALES = Scales(column_name="uplink", columns=["1", "2"], groups=["device ×1", "device ×16"], rows=["5 ms", "80 ms"])
ROOT = Path(__file__).resolve().parents[2]
SHARES = [[[0.0, 0.004], [0.25, 0.9]], [[0.0, 0.0], [0.5, 0.61]]]
PANELS = [Panel(title=f"panel {i}", told="a split wins some", shares=SHARES) for i in range(3)]


def shrinking() -> Problem:
    """Four operators of 2 ms over camera and mec, tensors ever smaller: a slow camera does well to split."""
    graph = graph_of([["x"], ["t0"], ["t1"], ["t2"]], {"x": 40000, "t0": 20000, "t1": 500, "t2": 400}, ["t3"], {})
    return simple_problem(graph, line_of([1e6]), 0.002)


@pytest.mark.parametrize(("mbps", "slowdown"), [(1.0, 16.0), (20.0, 4.0), (40.0, 4.0), (1000.0, 16.0)])
def test_a_gain_is_what_the_best_split_saves_of_the_best_unsplit_placement(mbps: float, slowdown: float) -> None:
    problem = linked(shrinking(), mbps, 5.0, slowdown)
    plans = brute_force(problem)
    split = min(plan.predicted.latency_s for plan in plans if plan.is_split)
    unsplit = min(plan.predicted.latency_s for plan in plans if not plan.is_split)
    assert gain(problem) == pytest.approx(max(0.0, 1 - split / unsplit))


def test_some_links_and_devices_gain_and_others_nothing() -> None:
    shares = shares_of(shrinking(), Grid(mbps=(0.01, 40), rtt_ms=(5,), slowdowns=(1, 4)))
    assert shares[0][0] == [0.0, 0.0]
    assert shares[1][0][0] == 0.0 < shares[1][0][1]


def test_what_is_told_counts_wins_alone() -> None:
    assert told(flat(SHARES)) == "a split wins 5 of 8, median gain there 50.0%, largest 90.0%"
    assert told([0.0, 0.0]) == "a split wins 0 of 2"
    assert [(one.value, one.spread) for one in figures_of("all", flat(SHARES))] == [(5, None), (50.0, (0.4, 90.0))]


def test_the_heat_map_has_a_cell_for_each_combination_and_says_0_where_nothing_is_gained() -> None:
    page = drawn(heat_map("m", "why", SCALES, PANELS[:1]))
    cells = [one for one in page.iter(f"{SVG}rect") if one.find(f"{SVG}title") is not None]
    assert len(cells) == 8
    words = [one.text for one in page.iter(f"{SVG}text")]
    assert [one for one in words if one in {"0", "<1", "25", "50", "61", "90"}] == [
        "0",
        "<1",
        "25",
        "90",
        "0",
        "0",
        "50",
        "61",
    ]


def test_no_words_of_the_heat_map_lie_over_others() -> None:
    assert overlapping(heat_map("model", "why " * 100, SCALES, PANELS)) == []


def test_darker_cells_gain_more() -> None:
    page = drawn(heat_map("m", "why", SCALES, PANELS[:1]))
    fills = [one.attrib["fill"] for one in page.iter(f"{SVG}rect") if one.find(f"{SVG}title") is not None]
    light = [sum(int(fill[i : i + 2], 16) for i in (1, 3, 5)) for fill in fills]
    by_gain = sorted(zip(flat(SHARES), light, strict=True))
    assert [lightness for _, lightness in by_gain] == sorted(light, reverse=True)


def test_codecs_are_tried_on_inputs_and_until_no_plan_sends_an_untried_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    tried_on: list[tuple[str, ...]] = []

    def worthless(_model: Path, tensors: Sequence[str], *_: object) -> dict[str, dict[str, TensorFigure]]:
        tried_on.append(tuple(tensors))
        return {name: {codec: TensorFigure(ratio=1.0, error=1.0) for codec in CODECS} for name in tensors}

    problem = replace(linked(shrinking(), 40.0, 5.0, 4.0), codecs=CODECS, max_error=0.02)
    free = CodecFigure(encode_s_per_byte=0.0, decode_s_per_byte=0.0)
    profile = replace(problem.profile, codecs=dict.fromkeys(CODECS, free))
    subject = measured.Subject(name="m", path=Path("m"), graph=problem.graph, profile=profile, feeds=({},))
    monkeypatch.setattr(measured, "codec_errors", worthless)

    def ask(hoped: Profile) -> Iterator[Problem]:
        yield replace(problem, profile=hoped)

    known, left = measured.tried(subject, ask, 9)
    assert tried_on[0] == ("x",)
    assert left == 0
    assert set(known.profile.tensors) == {name for names in tried_on for name in names} > {"x"}


def test_photographs_become_what_an_input_wants() -> None:
    pytest.importorskip("PIL")
    shades = np.arange(0, 250, 10).astype(np.uint8)[:, None, None]
    (file,) = function("encode_jpeg").run({}, np.tile(shades, (1, 30, 3)))
    graph = chain_graph(1)
    planes = replace(graph.activations["x"], shape=(1, 3, 8, 12))
    pixels = replace(planes, shape=(8, 12, 3), dtype="uint8")
    made = [
        measured.fitted(replace(graph, activations={**graph.activations, "x": one}), "x", file.tobytes())
        for one in (planes, pixels)
    ]
    assert [(one.shape, one.dtype.name) for one in made] == [((1, 3, 8, 12), "float32"), ((8, 12, 3), "uint8")]
    assert -1 <= made[0].min() < 0 < made[0].max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wins_counts_every_combination_and_draws_each_model(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/wins.py", "--quick", "--json", "--svg", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    names = [one["name"] for one in json.loads(ran.stdout)["figures"]]
    pictures = sorted(tmp_path.glob("wins-*.svg"))
    assert len(pictures) >= 2
    assert f"all: a split wins, of {len(pictures) * 4 * 45}" in names
    assert all(ElementTree.parse(one).getroot().tag == f"{SVG}svg" for one in pictures)
