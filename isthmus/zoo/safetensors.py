"""Reads the safetensors format with numpy alone: a little-endian length, a JSON header of that length, raw tensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.zoo.errors import ZooError

_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1"}


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Tensor name → array. ZooError for a file that is truncated, no safetensors, or of a type not known here."""
    data = path.read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        body = memoryview(data)[8 + length :]
        return {name: _array(entry, body) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ZooError(f"{path} is not a safetensors file that can be read: {error}") from None


def _array(entry: dict[str, Any], body: memoryview) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    found: NDArray[Any] = np.frombuffer(body[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found
