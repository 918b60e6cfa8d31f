"""What goes between the command and a cell's process: a request as JSON on stdin, answers as JSON lines on stdout.

Each line repeats all that is known so far, so that of a process that ends too early the last line still counts.
Tensors go through .npz files, samples and answers alike: "number/name" is a tensor of sample `number`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nodes.backend import Array
from orchestrator.selecting.cells import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Measure `cell` on the artifact in `folder`, with samples from `samples`, for about `seconds` a figure.

    `outputs`: where to write its answers, "" for nowhere. `batches`: artifacts by batch size. Without a folder only
    the engine's capabilities are asked for. `built`: an earlier process compiled it, so it is measured even if the
    engine compiles it again.
    """

    cell: Cell
    folder: str = ""
    samples: str = ""
    outputs: str = ""
    seconds: float = 1.0
    batches: Mapping[str, str] = field(default_factory=dict)
    built: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An engine's own account of itself: `options` are the names of those it takes, `missing` is why it isn't here."""

    backend: str
    version: str = ""
    devices: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    missing: str = ""


def save_tensors(path: Path, series: Sequence[Mapping[str, Array]]) -> None:
    """Write tensors of several samples, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        held: dict[str, Array] = {f"{i}/{name}": array for i, one in enumerate(series) for name, array in one.items()}
        np.savez(partial, allow_pickle=False, **held)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_tensors(path: Path) -> list[dict[str, Array]]:
    """The tensors of each sample, in order. OSError or ValueError for a file that is not one of ours."""
    with np.load(path) as held:
        found: dict[int, dict[str, Array]] = {}
        for key in held.files:
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = held[key]
    return [found[number] for number in sorted(found)]
