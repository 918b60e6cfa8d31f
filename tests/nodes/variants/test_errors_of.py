"""Errors between two models' outputs, by hand."""

import numpy as np
import pytest

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.variants.errors_of import certainty, errors_of


def rows(*values: list[float]) -> dict[str, Array]:
    return {"y": np.array(values, np.float32)}


def test_figures_are_those_worked_out_by_hand() -> None:
    found = errors_of([rows([3.0, 4.0])], [rows([3.0, 3.0])])
    assert (found.largest, found.mean, found.relative) == (1.0, 0.5, 0.25)
    assert found.sqnr_db == pytest.approx(10 * np.log10(25 / 1))
    assert found.cosine == pytest.approx(21 / (5 * np.sqrt(18)))


def test_equal_outputs_have_no_noise() -> None:
    found = errors_of([rows([0.0, 0.0], [1.0, 2.0])], [rows([0.0, 0.0], [1.0, 2.0])])
    assert (found.sqnr_db, found.largest, found.least_cosine) == (None, 0.0, 1.0)


def test_certain_rows_are_judged_apart() -> None:
    sure, unsure = [5.0, 0.0, 0.0], [0.1, 0.0, 0.0]
    found = errors_of([rows(sure, unsure)], [rows(sure, [0.0, 0.1, 0.0])])
    assert (found.agreement, found.certain, found.certain_rows, found.rows) == (0.5, 1.0, 1, 2)


def test_no_certain_row_is_no_figure() -> None:
    assert errors_of([rows([0.1, 0.0, 0.0])], [rows([0.1, 0.0, 0.0])]).certain is None


def test_the_worst_output_gives_the_relative_error_over_all_inputs() -> None:
    def outputs(b: float) -> dict[str, Array]:
        return {"a": np.array([[10.0]]), "b": np.array([[b]]), "n": np.array([1])}

    before, after = [outputs(1.0), outputs(1.0)], [outputs(1.0), outputs(1.5)]
    assert errors_of(before, after).relative == 0.5


def test_probabilities_are_certain_as_they_stand() -> None:
    assert certainty(np.array([[0.6, 0.4]])) == pytest.approx([0.6])
    assert certainty(np.array([[1.0, 1.0]])) == pytest.approx([0.5])


def test_labels_are_one_a_row() -> None:
    with pytest.raises(BadInput, match="3 labels were given for 1 rows"):
        errors_of([rows([1.0, 2.0])], [rows([1.0, 2.0])], [1, 1, 1])


@pytest.mark.parametrize("outputs", [[], [{"ids": np.array([1])}]])
def test_nothing_to_compare_is_refused(outputs: list[dict[str, Array]]) -> None:
    with pytest.raises(BadInput, match="output of floats"):
        errors_of(outputs, outputs)
