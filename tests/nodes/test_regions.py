"""Regions of a memory: never two in one place, and all of it there again once all are given back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.regions import PIECE_BYTES, Regions

PIECES = 32
Steps = list[tuple[int, int]]


@given(st.lists(st.tuples(st.integers(0, 12 * PIECE_BYTES), st.integers(0, 99))))
def test_regions_lie_within_apart_and_on_whole_pieces_and_come_back_whole(steps: Steps) -> None:
    regions, taken = Regions(PIECES * PIECE_BYTES), dict[int, int]()
    for nbytes, which in steps:
        begin = regions.take(nbytes)
        if begin is not None:
            taken[begin] = begin + nbytes
        elif taken:
            regions.give(gone := sorted(taken)[which % len(taken)])
            del taken[gone]
        in_order = sorted(taken.items())
        assert all(begin % PIECE_BYTES == 0 and end <= regions.capacity_bytes for begin, end in in_order)
        assert all(end <= after for (_, end), (after, _) in pairwise(in_order))
    for begin in taken:
        regions.give(begin)
    assert (regions.taken_bytes, regions.take(regions.capacity_bytes)) == (0, 0)


@given(st.lists(st.integers(1, 9 * PIECE_BYTES), min_size=1))
def test_none_is_refused_while_there_is_a_gap_for_it(sizes: list[int]) -> None:
    regions, taken = Regions(PIECES * PIECE_BYTES), list[tuple[int, int]]()
    for nbytes in sizes:
        begin = regions.take(nbytes)
        pieces = -(-nbytes // PIECE_BYTES)
        ends = [0, *(end for _, end in taken)]
        gaps = [begin - end for end, (begin, _) in zip(ends, [*taken, (PIECES, 0)], strict=True)]
        assert (begin is None) == (max(gaps) < pieces)
        if begin is not None:
            taken = sorted([*taken, (begin // PIECE_BYTES, begin // PIECE_BYTES + pieces)])
        if len(taken) % 3 == 0:
            regions.give(taken.pop(len(taken) // 2)[0] * PIECE_BYTES) if taken else None


def test_what_was_used_first_is_used_again() -> None:
    regions = Regions(PIECES * PIECE_BYTES)
    for _ in range(100):
        assert regions.take(3 * PIECE_BYTES) == 0
        regions.give(0)


def test_what_is_not_taken_is_not_given_back() -> None:
    regions = Regions(PIECES * PIECE_BYTES)
    with pytest.raises(KeyError):
        regions.give(0)
    with pytest.raises(ValueError, match="whole pieces"):
        Regions(PIECE_BYTES + 1)
