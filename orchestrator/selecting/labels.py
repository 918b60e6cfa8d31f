"""The task's right answers: integer class labels from a file, one a sample. Refuses what cannot be such.

What the model must be for that: its first float output [rows, classes] is what `nodes/variants/errors_of.py` calls
scores, and a sample with several rows needs several labels.
"""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput
from partitioner.graph import Graph


def load_labels(path: Path, samples: int) -> Array:
    """Labels of all samples, [samples] or [samples, rows], from .npy, an .npz of one array, or a .txt of numbers.

    BadInput for no integers, or not as many as samples, with both counts.
    """
    array = _array(path)
    many = f"{len(array) if array.ndim else 1} labels of {array.dtype.name}{list(array.shape)}"
    if array.dtype.kind not in "iu":
        raise BadInput(f"--labels {path}: {many} for {samples} samples; labels are integers, one a sample")
    if array.ndim not in (1, 2) or len(array) != samples:
        raise BadInput(f"--labels {path}: {many} for {samples} samples; give one a sample")
    return array


def check_scores(path: Path, labels: Sequence[int], samples: int, graph: Graph) -> None:
    """BadInput unless the model gives scores, a row for each of the samples' labels, of classes that these are."""
    shapes = {name: graph.activations[name].shape for name in graph.outputs if _is_float(graph, name)}
    scores = next((shape for shape in shapes.values() if len(shape) == 2 and shape[1] > 1), None)
    if scores is None:
        have = ", ".join(f"{name} {list(graph.activations[name].shape)}" for name in graph.outputs)
        raise BadInput(f"--labels {path}: no output is scores, floats of [rows, classes]; there are {have}")
    rows, classes = scores
    if rows * samples != len(labels):
        given = len(labels) // samples
        raise BadInput(f"--labels {path}: {given} a sample where the model scores {rows} rows; give [samples, {rows}]")
    wrong = next((label for label in labels if not 0 <= label < classes), None)
    if wrong is not None:
        raise BadInput(f"--labels {path}: label {wrong}, and the model scores classes 0 to {classes - 1}")


def _is_float(graph: Graph, name: str) -> bool:
    return "float" in graph.activations[name].dtype


def _array(path: Path) -> Array:
    if not path.is_file():
        raise BadInput(f"--labels {path}: no such file; give a .npy, .npz or .txt file")
    try:
        match path.suffix.lower():
            case ".txt":
                return _numbers(path.read_text().split())
            case ".npy":
                return np.asarray(np.load(path))
            case ".npz":
                with np.load(path) as held:
                    (only,) = held.files
                    return np.asarray(held[only])
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInput(f"--labels {path}: not one array of labels: {' '.join(str(error).split())[:120]}") from None
    raise BadInput(f"--labels {path}: should end in .npy, .npz or .txt")


def _numbers(words: Sequence[str]) -> Array:
    """Whole numbers; floats if any is not whole, for those to be refused with their count."""
    try:
        return np.array([int(word) for word in words], np.int64)
    except ValueError:
        return np.array([float(word) for word in words])
