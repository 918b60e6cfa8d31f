"""Watched words in lines that were read."""

import numpy as np
import pytest

from nodes.errors import BadInput
from tests.nodes.functions.called import called, texts

WATCHED = texts("School bus\nRoad closed", "Ambulance")


def matched(*lines: str, sure: float = 0.9, least: float = 0.85) -> tuple[str, float]:
    word, likeness = called("match_words", texts(*lines), np.full(len(lines), sure, np.float32), WATCHED, least=least)
    return word[0].decode(), round(float(likeness[0]), 3)


@pytest.mark.parametrize(
    ("line", "word"),
    [("SCHOOL BUS", "School bus"), ("Roadclosed ahead", "Road closed"), ("to: ambulance-bay", "Ambulance")],
)
def test_a_word_is_found_whatever_its_case_and_spaces(line: str, word: str) -> None:
    assert matched("Keep left", line) == (word, 1.0)


def test_letters_read_wrong_are_allowed_for() -> None:
    assert matched("AMBUIANCE") == ("Ambulance", round(1 - 2 / 18, 3))
    assert matched("AMBUIANCE", least=0.9) == ("", 0.0)


@pytest.mark.parametrize("line", ["Road works", "bus", "Ambush", "", "School lane"])
def test_what_is_like_a_part_of_a_word_is_none(line: str) -> None:
    assert matched(line) == ("", 0.0)


def test_lines_read_badly_do_not_count() -> None:
    assert matched("Ambulance", sure=0.4) == ("", 0.0)


def test_of_words_alike_the_longest_is_told() -> None:
    word, _ = called("match_words", texts("Road closed"), np.ones(1, np.float32), texts("Road\nRoad closed\nclosed"))
    assert word.tolist() == [b"Road closed"]


@pytest.mark.parametrize("watched", ["", "\n\n", "a\nno"])
def test_nothing_is_found_where_nothing_is_watched(watched: str) -> None:
    word, likeness = called("match_words", texts("a no"), np.ones(1, np.float32), texts(watched))
    assert (word.tolist(), likeness.tolist()) == ([b""], [0])


def test_no_line_at_all_is_no_match() -> None:
    assert matched() == ("", 0.0)


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(BadInput, match="not UTF-8: byte 0xff at 0"):
        called("match_words", texts("a"), np.ones(1, np.float32), texts(b"\xff"))
    with pytest.raises(BadInput, match=r"1 lines need as many certainties, not \[2\]"):
        called("match_words", texts("a"), np.ones(2, np.float32), texts("a"))
