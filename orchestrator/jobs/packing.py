"""An answer's tensors as bytes and back: msgpack of names, dtypes, shapes and raw values. Nothing is unpickled."""

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from nodes.backend import Array


def packed(outputs: Mapping[str, Array]) -> bytes:
    """The tensors as bytes."""
    told = [
        (name, array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()) for name, array in outputs.items()
    ]
    data: bytes = msgpack.packb(told)
    return data


def unpacked(data: bytes) -> dict[str, Array]:
    """What `packed` was given; the arrays are read-only."""
    told: list[Any] = msgpack.unpackb(data)
    return {name: np.frombuffer(raw, np.dtype(dtype)).reshape(shape) for name, dtype, shape, raw in told}
