"""Calls a registered function as a stage does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.functions import Param, function


def called(name: str, *arrays: Array, **params: Param) -> tuple[NDArray[Any], ...]:
    """All of its outputs, once they were found to be what it promises of such inputs."""
    made = function(name).run(params, *arrays)
    promised = function(name).infer(params, *(array.shape for array in arrays))
    for array, (dtype, shape) in zip(made, promised, strict=True):
        assert ("string" if array.dtype == np.object_ else array.dtype.name) == dtype
        assert len(array.shape) == len(shape)
        assert all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    return made


def texts(*lines: str | bytes) -> NDArray[Any]:
    """A tensor of text."""
    array = np.empty(len(lines), np.object_)
    array[:] = [line.encode() if isinstance(line, str) else line for line in lines]
    return array
