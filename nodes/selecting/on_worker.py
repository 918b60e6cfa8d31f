"""A worker measures a cell: in a process of its own, which is ended with the call that asked for it.

    {"request": …, "samples": SHA-256, "limit_s": 30.0} → {"said": …, "answers": bytes}

`request` is `exchange.Request` as a map in which every path is the SHA-256 of an artifact that the worker holds, and
`outputs` says by not being empty that answers are wanted. What runs is always `nodes.selecting.process`.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodes.backend import BACKENDS
from nodes.errors import NodesError
from nodes.selecting.asking import Running
from nodes.selecting.exchange import Request, Said, request_from, to_map
from nodes.store import Store

SAMPLES = "samples.npz"  # the one file of an artifact of samples
LONGEST_S = 3600.0


async def measure_cell(given: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """What the cell's process said within the limit, and the .npz of its answers.

    NodesError for a backend that there isn't or a limit that is none, ArtifactError for an artifact not in the store.
    """
    request, limit_s = request_from(given["request"]), float(given["limit_s"])
    if request.cell.backend not in BACKENDS:
        raise NodesError(f"no backend {request.cell.backend!r}; this worker knows {', '.join(BACKENDS)}")
    if not 0 < limit_s <= LONGEST_S:
        raise NodesError(f"a cell may take from 0 to {LONGEST_S:g} s, not {limit_s:g}")
    with tempfile.TemporaryDirectory(prefix="isthmus-cell-") as scratch:
        answers = Path(scratch) / "answers.npz"
        said = await _said(_here(request, store, answers), limit_s)
        return {"said": to_map(said), "answers": answers.read_bytes() if answers.exists() else b""}


def _here(request: Request, store: Store, answers: Path) -> Request:
    """The request with this machine's paths in it."""
    if not request.folder:
        return Request(cell=request.cell)
    return Request(
        cell=request.cell,
        folder=str(store.path(request.folder)),
        samples=str(store.path(request.samples) / SAMPLES),
        outputs=str(answers) if request.outputs else "",
        seconds=request.seconds,
        batches={size: str(store.path(sha)) for size, sha in request.batches.items()},
        built=request.built,
    )


async def _said(request: Request, limit_s: float) -> Said:
    running = Running(request)
    waiting = asyncio.create_task(asyncio.to_thread(running.wait, limit_s))
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:  # who asked is gone
        running.end()
        await waiting
        raise
