"""Phrases in speech probabilities: the same however the stream is cut, and none of what they say is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.phrases import Phrase, Phrases, PhraseTerms

SMALL = PhraseTerms(least=2, silence=3, pad=1, most=12)
levels = st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 1.0])
streams = st.lists(st.tuples(levels, st.integers(1, 16)), max_size=14).map(
    lambda runs: [level for level, length in runs for _ in range(length)]
)


def of(probabilities: list[float], terms: PhraseTerms = SMALL) -> list[Phrase]:
    phrases = Phrases(terms)
    return [*phrases.heard(probabilities), *phrases.end()]


@given(streams, st.lists(st.integers(0, 80)))
def test_pieces_change_nothing(probabilities: list[float], cuts: list[int]) -> None:
    phrases, found = Phrases(SMALL), list[Phrase]()
    edges = sorted({0, len(probabilities), *(cut for cut in cuts if cut < len(probabilities))})
    for begin, end in pairwise(edges):
        found += phrases.heard(probabilities[begin:end])
    assert [*found, *phrases.end()] == of(probabilities)


@given(streams)
def test_phrases_are_in_order_apart_bounded_and_hold_all_that_is_long_enough(probabilities: list[float]) -> None:
    found = of(probabilities)
    for one, other in pairwise(found):
        assert one.end <= other.begin
    for phrase in found:
        assert 0 <= phrase.begin < phrase.end <= len(probabilities)
        assert phrase.end - phrase.begin <= SMALL.most
    held = {frame for phrase in found for frame in range(phrase.begin, phrase.end)}
    for begin in range(len(probabilities) - SMALL.least + 1):
        run = range(begin, begin + SMALL.least)
        if all(probabilities[frame] >= SMALL.onset for frame in run):
            assert held >= set(run)


@given(streams)
def test_frames_that_are_not_needed_belong_to_no_phrase_to_come(probabilities: list[float]) -> None:
    phrases, needed = Phrases(SMALL), 0
    for probability in probabilities:
        for phrase in phrases.heard([probability]):
            assert phrase.begin >= needed
        assert phrases.needed_from >= needed
        needed = phrases.needed_from
        assert len(range(needed, phrases._frame)) <= SMALL.most + SMALL.pad


def test_a_phrase_is_padded_and_ends_after_silence() -> None:
    assert of([0] * 5 + [1] * 4 + [0] * 5) == [Phrase(4, 10)]
    assert of([0] * 5 + [1] * 4 + [0] * 2 + [1] * 2 + [0] * 3) == [Phrase(4, 14)]


def test_between_the_thresholds_speech_neither_begins_nor_ends() -> None:
    assert of([0.4] * 9) == []
    assert of([1, 1] + [0.4] * 5 + [0] * 3) == [Phrase(0, 8)]


def test_what_is_short_is_no_phrase() -> None:
    assert of([0, 1, 0, 0, 0, 0]) == []


def test_one_too_long_is_cut_in_its_longest_pause() -> None:
    assert of([1] * 4 + [0] * 2 + [1] * 8) == [Phrase(0, 5), Phrase(5, 14)]
    assert of([1] * 13) == [Phrase(0, 12), Phrase(12, 13)]  # no pause, and nothing lost


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan")])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        Phrases().heard([bad])


@pytest.mark.parametrize("terms", [{"onset": 0.2}, {"silence": 0}, {"pad": -1}, {"most": 10}])
def test_terms_that_can_not_be_are_refused(terms: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"onset|hold"):
        PhraseTerms(**terms)  # type: ignore[arg-type]
