"""An array that is a value: it can be compared, hashed, and kept in a journal's JSON."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass

import numpy as np

from nodes.backend import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptArray:
    """`packed`: its elements in row-major order, little-endian (text: as a JSON list), by zlib and base64.

    One number all over takes a thousandth of its bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    packed: str

    @classmethod
    def of(cls, array: Array) -> "KeptArray":
        """The array of numbers, or objects that are text, as a value."""
        is_text = array.dtype == np.object_
        data = json.dumps(array.ravel().tolist()).encode() if is_text else np.ascontiguousarray(array).tobytes()
        dtype = "string" if is_text else str(array.dtype)
        return cls(dtype=dtype, shape=array.shape, packed=b64encode(zlib.compress(data)).decode())

    def array(self) -> Array:
        """The array of this value; text as objects."""
        data = zlib.decompress(b64decode(self.packed))
        if self.dtype == "string":
            return np.array(json.loads(data), np.object_).reshape(self.shape)
        return np.frombuffer(data, self.dtype).reshape(self.shape)
