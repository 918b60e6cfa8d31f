"""What goes to a cell's process and comes from it: a request as JSON on stdin, answers as JSON lines on stdout.

Each line repeats all that is known so far, so that of a process that ends too early the last line still counts. The
same maps go to a worker and come from it. Tensors go through .npz files, samples and answers alike: "number/name" is
a tensor of sample `number`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.selecting.cells import BatchRow, Cell, Footprint, Measured, Speed

Map = dict[str, Any]


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
    """An engine's own account of itself: `options` are the names of those it takes, `missing` is why it isn't here.

    `machine` and `cores` are of the machine that it was asked on.
    """

    backend: str
    version: str = ""
    devices: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    missing: str = ""
    machine: str = ""
    cores: int = 0


Said = Measured | Told


def to_map(value: Request | Said) -> Map:
    """As plain values."""
    return asdict(value)


def request_from(given: Map) -> Request:
    """The request that `to_map` wrote; TypeError or KeyError for a map that is none."""
    return Request(**_known(Request, given) | {"cell": cell_from(given["cell"])})


def cell_from(given: Map) -> Cell:
    """The cell that `to_map` wrote."""
    return Cell(**_known(Cell, given) | {"options": tuple((str(name), one) for name, one in given["options"])})


def said_from(given: Map) -> Said:
    """What a process said, as `to_map` wrote it; TypeError or KeyError for a map that is no such thing."""
    if "state" not in given:
        return Told(**_tuples(_known(Told, given), "devices", "precisions", "options"))
    speed, spent = given["speed"], given["footprint"]
    if speed is not None:
        curve = tuple(BatchRow(**_known(BatchRow, row)) for row in speed["batches"])
        speed = Speed(**_known(Speed, speed) | {"batches": curve})
    if spent is not None:
        spent = Footprint(**_tuples(_known(Footprint, spent), "distributions", "devices"))
    return Measured(**_known(Measured, given) | {"speed": speed, "footprint": spent})


def _known(kind: type, given: Map) -> Map:
    """What this version knows of a map, which a newer one may have written."""
    return {item.name: given[item.name] for item in fields(kind) if item.name in given}


def _tuples(given: Map, *names: str) -> Map:
    return given | {name: tuple(given[name]) for name in names if name in given}


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
