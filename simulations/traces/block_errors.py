"""Reads block error curves of NR link simulations, as published with Sionna (NVIDIA, Apache-2.0), into schemes.

JSON: category → index → MCS table → `MCS` → scheme → `SNR_db`, and `CBS` → code block size → `BLER` at each of these.
The grid is coarse: where the curve crosses the target between two entries, it is taken as straight in the error's
probit.
"""

import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from simulations.errors import BadTrace
from simulations.radio.link_adaptation import QAM64, QAM256, TARGET, Schemes
from simulations.radio.path_loss import Floats
from simulations.traces.text import read_text

TABLES = {"1": QAM64, "2": QAM256}  # the standard's numbers
CLIP = 1e-6  # of errors, which are counted in some thousand blocks
_NORMAL = NormalDist()


def read_block_errors(path: Path, *, block_bits: int = 1000) -> Schemes:
    """The table of a file, each scheme with the SNR at which a tenth of blocks nearest that size is lost.

    A scheme that the file leaves out, or whose curve does not cross the target, keeps the figure of link_adaptation.py.
    BadTrace for a file that is no such table.
    """
    try:
        read = json.loads(read_text(path))
        ((table, curves),) = next(iter(read["category"].values()))["index"].items()
        schemes, known = TABLES[table], curves["MCS"]
        measured = {int(mcs): _crossing(curve, block_bits) for mcs, curve in known.items()}
    except json.JSONDecodeError as error:
        raise BadTrace(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadTrace(f"{path}: is no table of block errors: {type(error).__name__} at {error}") from None
    snr_db = schemes.snr_db.copy()
    for mcs, crossed_db in measured.items():
        if crossed_db is not None and mcs < len(snr_db):
            snr_db[mcs] = crossed_db
    return Schemes(f"{schemes.name}, {path.stem}", schemes.bits, snr_db)


def _crossing(curve: dict[str, Any], block_bits: int) -> float | None:
    size = min(curve["CBS"], key=lambda bits: abs(int(bits) - block_bits))
    snr_db: Floats = np.asarray(curve["SNR_db"], dtype=np.float64)
    errors: Floats = np.asarray(curve["CBS"][size]["BLER"], dtype=np.float64)
    if snr_db.shape != errors.shape:
        raise ValueError(f"{len(errors)} errors at {len(snr_db)} SNRs")
    below = np.flatnonzero(errors <= TARGET)
    if not below.size or below[0] == 0:
        return None
    last, first = int(below[0]) - 1, int(below[0])
    high, low, wanted = (
        _NORMAL.inv_cdf(float(np.clip(one, CLIP, 1 - CLIP))) for one in (*errors[[last, first]], TARGET)
    )
    return float(snr_db[last] + (high - wanted) / (high - low) * (snr_db[first] - snr_db[last]))
