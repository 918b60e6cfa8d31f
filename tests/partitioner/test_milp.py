"""Programs of whole numbers: optimum, cutoff, bound and impossibility, each told for what it is."""

from itertools import product

import numpy as np
import pytest

from partitioner.search.milp import Program

VALUES, WEIGHTS = np.array([60.0, 100.0, 120.0, 45.0, 80.0]), np.array([10.0, 20.0, 30.0, 12.0, 19.0])
ROOM = 50.0


def knapsack() -> Program:
    program = Program()
    chosen = program.columns(len(VALUES), cost=-VALUES, whole=True)
    program.row(chosen, WEIGHTS, high=ROOM)
    return program


def most_valuable() -> float:
    rows = [np.array(row) for row in product((0, 1), repeat=len(VALUES))]
    return float(max(VALUES @ row for row in rows if WEIGHTS @ row <= ROOM))


def test_the_optimum_is_found_and_is_its_own_bound() -> None:
    solved = knapsack().solve(seconds=10)
    assert solved.is_proven and solved.objective == pytest.approx(-most_valuable())
    assert solved.bound == pytest.approx(solved.objective)
    assert solved.values is not None and WEIGHTS @ solved.values <= ROOM + 1e-9


def test_below_the_optimum_there_is_proven_to_be_nothing_and_no_values_are_told() -> None:
    solved = knapsack().solve(seconds=10, below=-most_valuable() - 0.5)
    assert solved.is_proven and solved.values is None
    assert solved.bound <= -most_valuable()


def test_a_cutoff_above_the_optimum_and_a_known_answer_change_nothing() -> None:
    known = knapsack().solve(seconds=10)
    again = knapsack().solve(seconds=10, below=-most_valuable() + 0.5, start=known.values)
    assert again.is_proven and again.objective == pytest.approx(known.objective)


def test_rows_that_contradict_each_other_leave_nothing() -> None:
    program = Program()
    program.rows([program.columns(3), program.columns(3)], [1.0, 1.0], low=3.0)
    solved = program.solve(seconds=10)
    assert solved.is_proven and solved.values is None and solved.bound == np.inf


def test_a_program_without_whole_numbers_has_its_optimum_as_bound() -> None:
    program = Program()
    program.row(program.columns(2, high=np.inf, cost=(1.0, 2.0)), 1.0, low=3.0)
    solved = program.solve(seconds=10)
    assert (solved.objective, solved.bound) == (pytest.approx(3.0), pytest.approx(3.0))


def test_charges_add_up_and_blocks_broadcast() -> None:
    program = Program()
    table = program.columns((2, 3), cost=1.0, whole=True)
    program.charge(table[:, 0], 2.0)
    program.rows([table[0], table[1]], [1.0, 1.0], low=1.0)
    solved = program.solve(seconds=10)
    assert solved.objective == pytest.approx(3.0 + 1.0 + 1.0)
