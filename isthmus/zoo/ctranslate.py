"""Reads CTranslate2's `model.bin`, version 6, with numpy alone.

Little-endian: a version, the specification's name and revision, then variables (name, shape, type, bytes, values) and
aliases, which give a variable a second name. Strings are a length and that many bytes, the last one zero.
"""

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.zoo.errors import ZooError

VERSION = 6

_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_variables(path: Path, specification: str) -> dict[str, NDArray[Any]]:
    """Variable name → array, aliases among them.

    ZooError for a file that is truncated, of another version or specification, or of a type not known here.
    """
    data = _Cursor(path.read_bytes())
    try:
        version, name = data.number("I"), data.text()
        if (version, name) != (VERSION, specification):
            raise ValueError(f"version {version} of {name}, not {VERSION} of {specification}")
        data.number("I")  # the specification's revision
        found = dict(data.variable() for _ in range(data.number("I")))
        aliases = [(data.text(), data.text()) for _ in range(data.number("I"))]
        return found | {alias: found[variable] for alias, variable in aliases}
    except (struct.error, ValueError, KeyError) as error:
        raise ZooError(f"{path} is not a CTranslate2 model that can be read: {error}") from None


class _Cursor:
    """A place in the file; each reading moves it on."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def number(self, kind: str) -> int:
        """An unsigned number of the struct module's `kind`."""
        (found,) = struct.unpack_from(f"<{kind}", self._data, self._at)
        self._at += struct.calcsize(kind)
        return int(found)

    def text(self) -> str:
        return str(bytes(self._take(self.number("H")))[:-1], "utf-8")

    def variable(self) -> tuple[str, NDArray[Any]]:
        name = self.text()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind, nbytes = self.number("B"), self.number("I")
        if kind not in _DTYPES:
            raise ValueError(f"{name!r} is of type {kind}; known are {', '.join(map(str, _DTYPES))}")
        dtype = np.dtype(_DTYPES[kind])
        if nbytes != prod(shape) * dtype.itemsize:
            raise ValueError(f"{name!r} of shape {list(shape)} has {nbytes} bytes")
        return name, np.frombuffer(self._take(nbytes), dtype).reshape(shape)

    def _take(self, nbytes: int) -> memoryview:
        taken = self._data[self._at : self._at + nbytes]
        if len(taken) < nbytes:
            raise ValueError(f"{nbytes} bytes at {self._at} of {len(self._data)} are missing")
        self._at += nbytes
        return taken
