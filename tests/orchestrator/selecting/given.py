"""Cells, rows and answers as tests need them, and an engine's process that isn't one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.selecting.cells import RAN, BatchRow, Cell, Footprint, Measured, Speed
from nodes.selecting.exchange import Request, Told, save_tensors
from orchestrator.selecting.cells import Accuracy, Cost, Figures, Row

ORT, OV = Cell(backend="onnxruntime"), Cell(backend="openvino")
HALF = Cell(backend="openvino", precision="bfloat16")
TOLD = {
    "onnxruntime": Told(backend="onnxruntime", version="1.0", devices=("cpu",), precisions=("float32",)),
    "openvino": Told(backend="openvino", version="2.0", devices=("cpu",), precisions=("float32", "bfloat16")),
}


def took(memory_bytes: int = 50_000_000, **more: Any) -> Footprint:
    held: dict[str, Any] = {"artifact_bytes": 1000, "build_s": 0.1, "cached": False, "cpu_s": 0.01}
    return Footprint(memory_bytes=memory_bytes, **(held | more))


def speed(p50_s: float = 0.01, batches: tuple[BatchRow, ...] = ()) -> Speed:
    return Speed(first_s=0.2, p50_s=p50_s, p99_s=2 * p50_s, runs=100, batches=batches)


def ran(p50_s: float = 0.01, **more: Any) -> Measured:
    return Measured(state=RAN, version="1.0", speed=speed(p50_s), footprint=took(**more))


def row(
    cell: Cell = ORT,
    *,
    p50_s: float = 0.01,
    error: float = 0.0,
    memory_bytes: int = 50_000_000,
    energy_j: float | None = None,
    usd: float | None = None,
    node: str = "here",
) -> Row:
    accuracy = Accuracy(max_error=error, mean_error=error / 2, sqnr_db=None, cosine=1.0, label_agreement=1.0)
    cost = Cost(footprint=took(memory_bytes), energy_j=energy_j, usd_per_million=usd)
    return Row(node=node, cell=cell, state=RAN, figures=Figures(speed=speed(p50_s), accuracy=accuracy, cost=cost))


class Engines:
    """Stands for the processes: what each cell's says, and which were asked. `off`: how far its answers are off.

    A value that is an exception is raised, as Ctrl-C would be.
    """

    def __init__(
        self,
        says: Mapping[Cell, Measured | BaseException] | None = None,
        *,
        told: Mapping[str, Told] | None = None,
        off: Mapping[Cell, float] | None = None,
        spends: Callable[[], None] = lambda: None,
    ) -> None:
        self.says, self.told, self.off, self.spends = dict(says or {}), told or TOLD, off or {}, spends
        self.asked: list[Cell] = []
        self.requests: list[tuple[Request, float]] = []

    def __call__(self, request: Request, limit_s: float) -> Measured | Told:
        if not request.folder:
            missing = Told(backend=request.cell.backend, missing=f"{request.cell.backend} is not installed")
            return self.told.get(request.cell.backend, missing)
        self.spends()
        self.asked.append(request.cell)
        self.requests.append((request, limit_s))
        found = self.says.get(request.cell, ran())
        if isinstance(found, BaseException):
            raise found
        if request.outputs and found.state == RAN:
            save_tensors(Path(request.outputs), answers(self.off.get(request.cell, 0.0)))
        return found


def answers(off: float = 0.0) -> list[dict[str, Array]]:
    """Two samples' scores of three classes, of which the largest is 1; one is off by so much."""
    scores = np.array([[1.0, 0.25, -0.5]], np.float32)
    return [{"y": scores}, {"y": scores[:, ::-1] + np.array([[0.0, off, 0.0]], np.float32)}]
