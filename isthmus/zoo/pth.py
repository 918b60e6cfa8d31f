"""Reads PyTorch's .pth state dicts without torch: a pickle of tensors over raw storages.

The unpickler knows the few names that a state dict needs and refuses all others, so no code runs from the file.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isthmus.zoo.errors import ZooError

_STORAGES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor before its storage is read: where it lies in it, in elements."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(storage, offset, shape, strides)
        if module == "torch" and name in _STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a state dict")

    def persistent_load(self, pid: tuple[str, str, str, str, int]) -> str:
        """A storage: ("storage", type, key, device, elements, …)."""
        _, kind, key = pid[:3]
        self.dtypes[key] = _STORAGES[kind]
        return key


def read_state(path: Path) -> dict[str, NDArray[Any]]:
    """Parameter name → array. ZooError for a file that is no state dict of float32 and int64 tensors.

    Both containers are read: the zip of PyTorch ≥ 1.6 (`data.pkl`, `data/<key>`) and the older row of pickles
    (magic, protocol, system, state, keys, then per storage an int64 count and its elements).
    """
    try:
        state, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_row(path)
        return {name: _materialise(view, storages) for name, view in state.items()}
    except (pickle.UnpicklingError, KeyError, ValueError, AttributeError, EOFError) as error:
        raise ZooError(f"{path} is not a state dict that can be read without torch: {error}") from None


def _read_zip(path: Path) -> tuple[dict[str, _View], dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/", maxsplit=1)[0]
        unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}/data.pkl")))
        state = unpickler.load()
        read = {key: archive.read(f"{root}/data/{key}") for key in unpickler.dtypes}
    return state, {key: np.frombuffer(read[key], dtype) for key, dtype in unpickler.dtypes.items()}


def _read_row(path: Path) -> tuple[dict[str, _View], dict[str, NDArray[Any]]]:
    with path.open("rb") as file:
        for _ in range(3):
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        state = unpickler.load()
        keys = _Unpickler(file).load()
        storages = {}
        for key in keys:
            dtype = unpickler.dtypes[key]
            count = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return state, storages


def _materialise(view: _View, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    flat = storages[view.storage]
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.strides, strict=True))
    if view.offset < 0 or min(view.strides, default=0) < 0 or last >= flat.size:
        raise ValueError(f"a tensor reaches beyond its storage of {flat.size} elements")
    strides = [step * flat.itemsize for step in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides).copy()
