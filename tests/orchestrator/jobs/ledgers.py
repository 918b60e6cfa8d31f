"""Ledgers that tests begin with."""

from pathlib import Path

import numpy as np

from orchestrator.jobs.ledger import End, Ledger
from orchestrator.jobs.packing import packed
from orchestrator.jobs.terms import JobTerms


def begun(folder: Path, count: int = 0, name: str = "sort") -> Ledger:
    """A ledger of a RUNNING job of so many items, named by their positions."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder, make=True)
    ledger.begin(JobTerms(name=name, data="/data", output="/out.npz", deployment="two"))
    ledger.step("start")
    if count:
        ledger.list_items([f"{position:04}" for position in range(count)], "mark")
    return ledger


def answered(position: int) -> End:
    """An item's end with y = [position, position + 1]."""
    return End(position, packed({"y": np.array([position, position + 1], np.float32)}), None)
