"""Numba's decorator, typed: loops over ideals that Python is too slow for. Compiled once a machine, then cached."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function as machine code, with the same signature; it must use numbers and numpy arrays only."""
    try:
        return cast(F, numba.njit(cache=True)(function))
    except RuntimeError:  # neither the package's folder nor the user's can be written: compiled again each time
        return cast(F, numba.njit(function))
