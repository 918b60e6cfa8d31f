"""Labels, boxes, lines, votes and rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nodes.errors import BadInput, UnsupportedOperator
from nodes.functions import Param, function
from nodes.functions.rules import Rule
from tests.nodes.functions.called import called


def floats(values: object) -> NDArray[np.float32]:
    return np.array(values, np.float32)


LABELS = ["cat", "dog", "boat"]


def test_the_likeliest_labels_come_first_with_their_share() -> None:
    names, shares = called("top_k", np.log(floats([[0.2, 0.7, 0.1]])), labels=LABELS, k=2)
    assert names.tolist() == [b"dog", b"cat"]
    np.testing.assert_allclose(shares, [0.7, 0.2], rtol=1e-6)


def test_labels_that_are_not_as_many_as_values_are_told() -> None:
    with pytest.raises(BadInput, match="4 values for 3 labels"):
        called("top_k", np.zeros((1, 4), np.float32), labels=LABELS)


def test_of_boxes_that_overlap_the_best_is_kept() -> None:
    boxes = floats([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 4.9]])
    (kept,) = called("nms", boxes, floats([0.8, 0.9, 0.3, 0.7]), iou=0.5)
    assert kept.tolist() == [1, 3, 2]
    (kept,) = called("nms", boxes, floats([0.8, 0.9, 0.3, 0.7]), iou=0.5, least=0.5)
    assert kept.tolist() == [1, 3]


def test_of_very_many_boxes_the_best_are_looked_at() -> None:
    boxes = np.tile(np.arange(6, dtype=np.float32)[:, None] * 10, 4) + floats([0, 0, 5, 5])
    assert called("nms", boxes, floats([1, 6, 2, 5, 3, 4]), most=3)[0].tolist() == [1, 3, 5]


@given(st.integers(0, 12), st.integers(0, 2**31))
def test_no_two_kept_boxes_overlap_and_each_that_went_overlaps_a_better_one(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 10, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 6, (count, 2))], axis=1).astype(np.float32)
    scores = random.permutation(count).astype(np.float32)
    kept = called("nms", boxes, scores, iou=0.3)[0].tolist()

    def overlap(one: int, other: int) -> float:
        low, high = np.maximum(boxes[one, :2], boxes[other, :2]), np.minimum(boxes[one, 2:], boxes[other, 2:])
        both = float(np.prod(np.clip(high - low, 0, None), dtype=np.float64))
        areas = [float(np.prod(boxes[at, 2:] - boxes[at, :2], dtype=np.float64)) for at in (one, other)]
        return both / (sum(areas) - both)

    assert not any(overlap(one, other) > 0.3 + 1e-6 for one in kept for other in kept if one < other)
    for gone in set(range(count)) - set(kept):
        assert any(overlap(gone, one) > 0.3 - 1e-6 and scores[one] > scores[gone] for one in kept)


def test_letters_are_read_greedily_with_repeats_joined() -> None:
    steps = [0, 1, 1, 0, 1, 2, 2, 0]
    chances = np.full((2, len(steps), 3), 0.05, np.float32)
    chances[0, range(len(steps)), steps] = 0.9
    chances[1, :, 0] = 0.9
    lines, sure = called("ctc_decode", chances, alphabet=["", "a", "b"], probabilities=1)
    assert lines.tolist() == [b"aab", b""]
    np.testing.assert_allclose(sure, [0.9, 0.0])


def test_most_votes_win_by_their_weights() -> None:
    votes = [np.array([label]) for label in (4, 7, 7)]
    assert called("vote", *votes)[0].tolist() == [7]
    assert called("vote", *votes, weights=[3.0, 1.0, 1.0])[0].tolist() == [4]
    assert called("vote", *votes[:2])[0].tolist() == [4]
    with pytest.raises(BadInput, match="3 votes with 2 weights"):
        called("vote", *votes, weights=[1.0, 2.0])


@pytest.mark.parametrize(("name", "params"), [("vote", {}), ("rule", {"names": ["x"], "when": "x"})])
def test_nothing_to_decide_by_is_the_callers_fault(name: str, params: dict[str, Param]) -> None:
    with pytest.raises(BadInput, match="nothing is in number 0"):
        function(name).run(params, np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("person > 0.5 and (speech > 0.3 or watched)", True),
        ("not watched and speech", False),
        ("0 < speech <= 0.3", True),
        ("watched / (speech - speech) > 0", False),
        ("person - 2 * speech == 0.1 or -person >= 0", False),
    ],
)
def test_rules_hold_as_they_read(when: str, holds: bool) -> None:
    values = (
        {"person": 0.8, "speech": 0.2, "watched": 1.0} if "/" not in when else {"person": 1, "speech": 0, "watched": 0}
    )
    arrays = [floats([value]) for value in values.values()]
    assert called("rule", *arrays, names=list(values), when=when)[0].tolist() == [holds]


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("person >", "is no condition"),
        ("face > 1", "speaks of 'face'; there are person"),
        ("__import__('os')", "has no place in a rule"),
        ("person ** 9", "Pow has no place"),
        ("person > 1" + "0" * 400, "is no number"),
        ("person > 'a'", "'a' is no number"),
        ("(person := 3) > 1", "NamedExpr has no place"),
        ("person > 1 " + "or person > 1 " * 100, "a rule of 1,?411 characters"),
    ],
)
def test_what_is_no_rule_is_refused(when: str, told: str) -> None:
    with pytest.raises(UnsupportedOperator, match=told):
        Rule.of(when, ("person",))
