"""The lower envelope of planes against the planes themselves, and regions of one way against the topology's paths."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.search.envelope import Envelope, Plane, below
from partitioner.search.ways import Scale, Ways
from partitioner.topology import Link, Topology
from tests.partitioner.builders import line_of

SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


def area(polygon: list[tuple[float, float]]) -> float:
    return abs(sum(polygon[i - 1][0] * b - a * polygon[i - 1][1] for i, (a, b) in enumerate(polygon))) / 2


def with_ways_past(draw: Random) -> Topology:
    """camera – mec – cloud with a way past the middle, whose use depends on the uplink."""
    topology = line_of([1e6, 1e7], propagation_s=0.002)
    rate = draw.choice((2e5, 1e6))
    past = (
        Link(source=a, target=b, bytes_per_s=rate, propagation_s=0.01)
        for a, b in (("camera", "cloud"), ("cloud", "camera"))
    )
    return replace(topology, links=(*topology.links, *past))


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_where_nothing_is_lower_at_the_corners_nothing_is_lower_anywhere(seed: int) -> None:
    draw = Random(seed)
    planes = [Plane(base=draw.random(), slope_u=draw.uniform(-1, 1), slope_v=draw.uniform(-1, 1)) for _ in range(12)]
    known = Envelope(SQUARE, planes[0])
    while lower := [one for one in planes for at in known.corners() if one.at(at) < known.at(at) - 1e-9]:
        known.add(lower[0])
    assert sum(area(region) for _, region in known.regions) == pytest.approx(1.0)
    for place in [(draw.random(), draw.random()) for _ in range(30)]:
        assert known.at(place) == pytest.approx(min(one.at(place) for one in planes), abs=1e-8)


def test_a_polygon_is_cut_along_the_plane_s_border() -> None:
    left = below(SQUARE, Plane(base=-0.25, slope_u=1.0, slope_v=0.0), 1e-12)
    assert area(left) == pytest.approx(0.25)
    assert below(SQUARE, Plane(base=1.0, slope_u=0.0, slope_v=0.0), 1e-12) == []
    assert below(SQUARE, Plane(base=-1.0, slope_u=0.0, slope_v=0.0), 1e-12) == SQUARE


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_choice_of_ways_has_one_path_for_each_pair(seed: int) -> None:
    draw = Random(seed)
    topology = with_ways_past(draw)
    ways, paths = Ways(topology, topology.links[0]), {}
    for _ in range(20):
        x, one_way_s = 10 ** draw.uniform(-8, -4), draw.uniform(0, 0.1)
        late = {("camera", "mec"): {"bytes_per_s": 1 / x}, ("mec", "camera"): {}}
        moved = [
            replace(link, propagation_s=one_way_s, **late[ends])
            for link in topology.links
            if (ends := (link.source, link.target)) in late
        ]
        posed = topology.with_links(moved)
        taken = tuple(
            tuple((link.source, link.target) for link in path.links)
            for a in topology.by_name
            for b in topology.by_name
            if (path := posed.path(a, b)) is not None
        )
        assert paths.setdefault(ways.choice(x, one_way_s), taken) == taken


def test_regions_cover_the_ranges_once_and_choose_alike_inside() -> None:
    topology = with_ways_past(Random(0))
    ways, scale = Ways(topology, topology.links[0]), Scale((1e-8, 1e-5), (0.0, 0.1))
    regions = ways.regions((1e-8, 1e-5), (0.0, 0.1))
    assert len(regions) > 2
    assert sum(area(region) for region in regions.values()) == pytest.approx(1.0)
    for choice, region in regions.items():
        draw = np.random.default_rng(1).dirichlet(np.ones(len(region)), 20)
        assert all(ways.choice(*scale.point(tuple(part @ np.array(region)))) == choice for part in draw)
