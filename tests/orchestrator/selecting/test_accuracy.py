"""Errors against the reference, by hand."""

import numpy as np
import pytest

from nodes.backend import Array
from orchestrator.selecting.accuracy import Incomparable, accuracy_of
from tests.orchestrator.selecting.given import answers


def of(*values: float) -> list[dict[str, Array]]:
    return [{"y": np.array([values], np.float32)}]


def test_errors_are_shares_of_the_references_largest_magnitude() -> None:
    found = accuracy_of(of(4.0, -8.0, 1.0), of(4.0, -10.0, 0.0))
    assert found.max_error == pytest.approx(0.2)
    assert found.mean_error == pytest.approx(1.0)
    assert found.sqnr_db == pytest.approx(10 * np.log10(116 / 5))
    assert found.cosine == pytest.approx(96 / np.sqrt(116 * 81))


def test_what_is_equal_has_no_noise_to_compare_the_signal_with() -> None:
    found = accuracy_of(answers(), answers())
    assert (found.max_error, found.sqnr_db, found.label_agreement) == (0.0, None, 1.0)


def test_labels_agree_by_row_over_all_samples() -> None:
    assert accuracy_of(answers(off=2.0), answers()).label_agreement == 0.5


def test_a_saturated_output_shows_in_its_span() -> None:
    (found,) = accuracy_of(of(2.0, -2.0, 0.5), of(4.0, -4.0, 0.5)).ranges
    assert (found.low, found.high, found.kept) == (-2.0, 2.0, 0.5)


def test_the_worst_output_stands_for_the_cell() -> None:
    exact, off = of(1.0, 0.0)[0]["y"], of(0.5, 0.0)[0]["y"]
    found = accuracy_of([{"a": exact, "b": off}], [{"a": exact, "b": exact}])
    assert found.max_error == pytest.approx(0.5)


def test_integers_have_no_labels() -> None:
    whole: list[dict[str, Array]] = [{"ids": np.array([[1, 2]], np.int64)}]
    found = accuracy_of([{"ids": np.array([[1, 4]], np.int64)}], whole)
    assert (found.label_agreement, found.max_error) == (None, 1.0)


def test_only_what_the_reference_is_sure_of_counts_as_certain() -> None:
    sure, unsure = np.array([[9.0, 0.0, 0.0]]), np.array([[0.1, 0.0, 0.0]])
    found = accuracy_of([{"y": sure}, {"y": unsure[:, ::-1]}], [{"y": sure}, {"y": unsure}])
    assert (found.label_agreement, found.certain_agreement) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (of(1.0, float("nan"), 0.0), "no number where the reference's are finite"),
        (of(1.0, 2.0), r"shape \[1, 2\], the reference's \[1, 3\]"),
        ([{"z": np.zeros(1)}], "output 'y' is missing"),
        ([], "0 answers where the reference gave 1"),
    ],
)
def test_what_cannot_be_compared_is_said(outputs: list[dict[str, Array]], told: str) -> None:
    with pytest.raises(Incomparable, match=told):
        accuracy_of(outputs, of(1.0, 2.0, 3.0))
