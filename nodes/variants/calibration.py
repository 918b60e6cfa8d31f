"""Calibration data as files: arrays by input, split into one feed a batch. Pictures are read elsewhere.

    feeds = read(Path("crops.npz"), inputs)

An .npz holds an array an input; an .npy is the only input's; a folder holds such files, a feed or several each.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.feeds import describe, fits

SUFFIXES = (".npy", ".npz")


def read(path: Path, inputs: Sequence[TensorSpec]) -> tuple[Mapping[str, Array], ...]:
    """The feeds of a file, or of a folder's files in the order of their names. BadInput, in one line, for another."""
    files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise BadInput(f"{path} holds no calibration data; put .npy or .npz files there")
    found: list[Mapping[str, Array]] = []
    for file in files:
        try:
            found += split(_arrays(file, inputs), inputs)
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from None
    return tuple(found)


def split(arrays: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> tuple[Mapping[str, Array], ...]:
    """One feed, or as many as the arrays hold along their first axis, each of the size that the model takes.

    An array may have the input's own shape, several of it in a row along its batch, or one axis more in front.
    BadInput, naming what the model takes, for a wrong name, dtype, shape, or numbers that disagree.
    """
    takes = f"the model takes {', '.join(describe(spec) for spec in inputs)}"
    names = [spec.name for spec in inputs]
    if wrong := sorted(set(names) ^ set(arrays)):
        word = "missing" if wrong[0] in names else "surplus"
        raise BadInput(f"{word} {wrong[0]!r}; {takes}")
    series = {spec.name: _series(spec, arrays[spec.name], takes) for spec in inputs}
    counts = {name: len(held) for name, held in series.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"inputs differ in number: {', '.join(f'{n} of {name}' for name, n in counts.items())}; {takes}")
    return tuple(dict(zip(series, held, strict=True)) for held in zip(*series.values(), strict=True))


def digest(feeds: Sequence[Mapping[str, Array]]) -> str:
    """SHA-256 of every name, dtype, shape and value, in order."""
    found = sha256()
    for given in feeds:
        for name, array in sorted(given.items()):
            found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _series(spec: TensorSpec, array: Array, takes: str) -> list[Array]:
    if array.ndim and array.size == 0:
        raise BadInput(f"{spec.name!r} is empty, of shape {list(array.shape)}; {takes}")
    if fits(spec, array):
        return [array]
    rows = spec.shape[0] if spec.shape else None
    if array.ndim == len(spec.shape) + 1 and fits(spec, array[0]):
        return list(array)
    if rows and array.ndim == len(spec.shape) and len(array) % rows == 0 and fits(spec, array[:rows]):
        return [array[start : start + rows] for start in range(0, len(array), rows)]
    raise BadInput(f"{spec.name!r} is {array.dtype.name}{list(array.shape)}; {takes}, or several of it in a row")


def _arrays(path: Path, inputs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    if path.suffix not in SUFFIXES or not path.is_file():
        raise BadInput("no .npy or .npz file")
    try:
        held = np.load(path)
        if not isinstance(held, np.ndarray):
            with held:
                return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInput(f"cannot be read as NumPy arrays: {' '.join(str(error).split())[:120]}") from None
    if len(inputs) != 1:
        raise BadInput(
            f"the model has {len(inputs)} inputs; give a .npz with {', '.join(spec.name for spec in inputs)}"
        )
    return {inputs[0].name: held}
