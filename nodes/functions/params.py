"""What an operator of domain "isthmus" is, and how it reads its parameters: the ONNX node's attributes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nodes.backend import Array
from nodes.errors import UnsupportedOperator

Param = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
Params = Mapping[str, Param]
Shape = tuple[int | None, ...]
Inferred = tuple[str, Shape]  # dtype and shape; None where the shape depends on the data


@dataclass(frozen=True, slots=True)
class Function:
    """What an operator of domain "isthmus" does.

    `run(params, *arrays)` gives the outputs, BadInput for arrays it cannot take (the caller adds their names).
    `infer(params, *shapes)` gives dtype and shape of each output from the inputs' shapes. `takes` has the inputs'
    dtypes, None for any; the last stands for all that follow where there may be `many`. `outputs` are their names,
    `params` those of the parameters that there are.
    """

    run: Callable[..., tuple[Array, ...]]
    infer: Callable[..., tuple[Inferred, ...]]
    takes: tuple[str | None, ...]
    outputs: tuple[str, ...]
    many: bool = False
    params: tuple[str, ...] = ()

    def unknown(self, given: Params) -> str | None:
        """What is wrong with these parameters' names, or None."""
        name = next((name for name in given if name not in self.params), None)
        if name is None:
            return None
        near = get_close_matches(name, self.params, n=1)
        there = f"there are {', '.join(self.params)}" if self.params else "there are none"
        return f"has no parameter {name!r}; " + (f"did you mean {near[0]!r}?" if near else there)


def number(params: Params, name: str, default: float) -> float:
    """One number."""
    value = params.get(name, default)
    if not isinstance(value, int | float):
        raise UnsupportedOperator(f"parameter {name!r} must be a number, is {value!r}")
    return value


def numbers(params: Params, name: str, default: float) -> list[float]:
    """One number, or several."""
    value: Any = params.get(name, default)
    return [float(item) for item in value] if isinstance(value, Sequence) else [float(value)]


def count(params: Params, name: str, default: int, *, least: int = 1) -> int:
    """A whole number of at least so much."""
    value = number(params, name, default)
    if value != int(value) or value < least:
        raise UnsupportedOperator(f"parameter {name!r} must be a whole number from {least}, is {value!r}")
    return int(value)


def text(params: Params, name: str) -> str:
    """Text that must be there."""
    value = params.get(name, "")
    if not isinstance(value, str) or not value:
        raise UnsupportedOperator(f"parameter {name!r} must be text, is {value!r:.60}")
    return value


def words(params: Params, name: str) -> list[str]:
    """A list of text."""
    value: Any = params.get(name, ())
    listed = [value] if isinstance(value, str) else list(value)
    if not listed or not all(isinstance(word, str) for word in listed):
        raise UnsupportedOperator(f"parameter {name!r} must be a list of text, is {value!r:.60}")
    return listed
