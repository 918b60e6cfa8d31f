"""An engine's kernel times become operators' times."""

import pytest

from nodes.attribution import Wiring, attribute


def chain(*operators: tuple[str, str]) -> list[Wiring]:
    """Operators that each read the one before."""
    names = [name for name, _ in operators]
    return [
        Wiring(name, op_type, (name,), tuple(names[max(index - 1, 0) : index]), tuple(names[index + 1 : index + 2]))
        for index, (name, op_type) in enumerate(operators)
    ]


CONV_CLIP = chain(("conv", "Conv"), ("clip", "Clip"), ("pool", "MaxPool"))


def test_times_are_scaled_to_the_whole() -> None:
    shared = attribute(CONV_CLIP, {"conv": 1.0, "clip": 2.0, "pool": 1.0}, {}, total_s=8.0)
    assert shared == {"conv": 2.0, "clip": 4.0, "pool": 2.0}


def test_a_fused_group_is_divided_as_unfused_times_divide_it() -> None:
    shared = attribute(CONV_CLIP, {"conv,clip": 4.0, "pool": 1.0}, {"conv": 3.0, "clip": 1.0, "pool": 9.0}, total_s=5.0)
    assert shared == {"conv": 3.0, "clip": 1.0, "pool": 1.0}


def test_an_absorbed_convolution_joins_what_follows_it() -> None:
    shared = attribute(CONV_CLIP, {"clip_nchwc": 4.0, "pool": 1.0}, {"conv": 3.0, "clip": 1.0}, total_s=5.0)
    assert (shared["conv"], shared["clip"]) == (3.0, 1.0)


def test_an_absorbed_activation_joins_what_it_reads() -> None:
    shared = attribute(CONV_CLIP, {"conv": 4.0, "pool": 1.0}, {"conv": 3.0, "clip": 1.0}, total_s=5.0)
    assert shared == {"conv": 3.0, "clip": 1.0, "pool": 1.0}


def test_a_row_of_absorbed_operators_finds_its_kernel() -> None:
    row = chain(("conv", "Conv"), ("mul", "Mul"), ("add", "Add"), ("clip", "Clip"))
    assert attribute(
        row, {"conv": 8.0}, dict.fromkeys(("conv", "mul", "add", "clip"), 1.0), total_s=4.0
    ) == dict.fromkeys(("conv", "mul", "add", "clip"), 1.0)


def test_a_tensors_name_stands_for_the_operator_that_makes_it() -> None:
    operators = [Wiring("classify", "Gemm", ("logits",), (), ())]
    assert attribute(operators, {"logits": 0.5}, {}, total_s=2.0) == {"classify": 2.0}


def test_parts_of_a_group_that_the_engine_added_are_ignored() -> None:
    shared = attribute(CONV_CLIP, {"conv/WithoutBiases,conv,clip": 1.0, "pool": 1.0, "Reorder": 9.0}, {}, total_s=2.0)
    assert shared == {"conv": 0.5, "clip": 0.5, "pool": 1.0}


def test_without_any_times_the_unfused_ones_are_all_there_is() -> None:
    assert attribute(CONV_CLIP, {}, {"conv": 1.0, "clip": 1.0, "pool": 2.0}, total_s=8.0) == {
        "conv": 2.0, "clip": 2.0, "pool": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize("reported", [{"conv": 1.0}, {"a": 1.0, "b": 2.0}, {"clip_nchwc": 0.1, "pool": 3.0}, {}])
def test_the_sum_is_always_the_whole(reported: dict[str, float]) -> None:
    shared = attribute(CONV_CLIP, reported, {"conv": 1.0, "clip": 2.0, "pool": 1.0}, total_s=7.0)
    assert sum(shared.values()) == pytest.approx(7.0)
    assert set(shared) == {"conv", "clip", "pool"}
