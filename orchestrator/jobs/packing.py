"""An answer's tensors as bytes and back: msgpack of names, dtypes, shapes and raw values. Nothing is unpickled."""

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from nodes.backend import Array
from nodes.held import encoded


def packed(outputs: Mapping[str, Array]) -> bytes:
    """The tensors as bytes."""
    plain = {name: _plain(array) for name, array in outputs.items()}
    told = [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in plain.items()]
    data: bytes = msgpack.packb(told)
    return data


def _plain(array: Array) -> Array:
    """Text as numpy holds it, so that files of every kind take it."""
    if array.dtype.kind != "O":
        return array
    return np.array([encoded(value).decode(errors="replace") for value in array.reshape(-1)], str).reshape(array.shape)


def unpacked(data: bytes) -> dict[str, Array]:
    """What `packed` was given; the arrays are read-only."""
    told: list[Any] = msgpack.unpackb(data)
    return {name: np.frombuffer(raw, np.dtype(dtype)).reshape(shape) for name, dtype, shape, raw in told}
