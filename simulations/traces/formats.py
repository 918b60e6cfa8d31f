"""Reads links' rates from the formats in which 4G and 5G measurements are published; users bring their own copies.

- 5G, UCC (Raca et al., Beyond Throughput, The Next Generation, MMSys 2020): CSV with a header; `DL_bitrate`
  in kbit/s is the capacity down while `State` is D, downloading, and `UL_bitrate` what acknowledgements took of the way
  up, which is no capacity: none is read. `Timestamp` is local time to the second.
- LTE, NYU METS (Mei et al., Realtime Mobile Bandwidth Prediction, PAM 2019): `value,unit` a line, one a second.
- 5G, Lumos5G (Narayanan et al., IMC 2020): CSV with a header; `Throughput` in Mbit/s at `seq_num` seconds of a
  `run_num`, the runs one after the other.
- Mahimahi (Netravali et al., ATC 2015): a number of milliseconds a line, at which 1504 bytes may pass.

Times must not go back. Where nothing was measured for longer than GAP times the usual interval, that time is cut out
and counted: what the link carried then is not known. Several lines for one moment are taken as their mean.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simulations.errors import BadTrace
from simulations.radio.carrier import Direction
from simulations.traces.link_trace import GAP, LinkTrace
from simulations.traces.text import read_csv

UNITS = {"Mbits/sec": 1e6, "Kbits/sec": 1e3, "bits/sec": 1.0}
PACKET_BITS = 1504 * 8
BIN_S = 0.1  # in which Mahimahi's opportunities are counted


class Seen(NamedTuple):
    """One line's measurement, by its number in the file."""

    line: int
    at_s: float
    bits_per_s: float


class ReadTrace(NamedTuple):
    """A trace and how many stretches without measurements were cut out of it."""

    trace: LinkTrace
    cut: int


def read_link_trace(path: Path, direction: Direction = "down") -> ReadTrace:
    """A file in one of these formats, told apart by its first line. BadTrace with the line that can't be read.

    UCC's files tell of the way down alone and are refused for the other; the rest is taken for either.
    """
    rows = [(number, row) for number, row in enumerate(read_csv(path), 1) if any(cell.strip() for cell in row)]
    if not rows:
        raise BadTrace(f"{path}: is empty")
    header = [cell.strip() for cell in rows[0][1]]
    if "DL_bitrate" in header:
        if direction == "up":
            raise BadTrace(
                f"{path}: is a trace of UCC, whose UL_bitrate is acknowledgements, not what the link carries up; "
                "say that beside it, as up: {mean_mbps: …}"
            )
        return _pieced(path, list(_ucc(path, header, rows[1:])))
    if "Throughput" in header:
        return _pieced(path, list(_lumos(path, header, rows[1:])))
    if len(header) == 2 and header[1] in UNITS:
        return _pieced(path, list(_nyu(path, rows)))
    if len(header) == 1 and header[0].isdigit():
        return ReadTrace(_mahimahi(path, rows), 0)
    raise BadTrace(
        f"{path}, line {rows[0][0]}: is no trace of UCC (DL_bitrate), Lumos5G (Throughput), NYU (value,unit) or "
        "Mahimahi (milliseconds)"
    )


def _number(path: Path, line: int, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise BadTrace(f"{path}, line {line}: {what} is {text!r}, not a number")
    return value


def _column(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise BadTrace(f"{path}: has no column {name}")
    return header.index(name)


def _cell(path: Path, line: int, row: Sequence[str], column: int) -> str:
    if column >= len(row):
        raise BadTrace(f"{path}, line {line}: has {len(row)} cells, fewer than the header")
    return row[column].strip()


def _ucc(path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> Iterator[Seen]:
    rate, state, when = (_column(path, header, column) for column in ("DL_bitrate", "State", "Timestamp"))
    for line, row in rows:
        if _cell(path, line, row, state) != "D":
            continue
        text = _cell(path, line, row, when)
        try:
            at_s = datetime.strptime(text, "%Y.%m.%d_%H.%M.%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise BadTrace(f"{path}, line {line}: Timestamp is {text!r}, not like 2019.12.16_12.27.05") from None
        yield Seen(line, at_s, 1e3 * _number(path, line, "DL_bitrate", _cell(path, line, row, rate)))


def _lumos(path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> Iterator[Seen]:
    run, second, rate = (_column(path, header, column) for column in ("run_num", "seq_num", "Throughput"))
    before, last_s, shift_s = None, -1.0, 0.0
    for line, row in rows:
        at_s = _number(path, line, "seq_num", _cell(path, line, row, second))
        name = _cell(path, line, row, run)
        if before is not None and name != before:  # the next run begins a second after the last one ended
            shift_s = last_s + 1.0 - at_s
        before, last_s = name, at_s + shift_s
        yield Seen(line, last_s, 1e6 * _number(path, line, "Throughput", _cell(path, line, row, rate)))


def _nyu(path: Path, rows: Sequence[tuple[int, list[str]]]) -> Iterator[Seen]:
    for second, (line, row) in enumerate(rows):
        unit = _cell(path, line, row, 1)
        if unit not in UNITS:
            raise BadTrace(f"{path}, line {line}: the unit is {unit!r}, not {', '.join(UNITS)}")
        yield Seen(line, float(second), UNITS[unit] * _number(path, line, "value", row[0]))


def _mahimahi(path: Path, rows: Sequence[tuple[int, list[str]]]) -> LinkTrace:
    at_ms = np.array([_number(path, line, "the time", row[0]) for line, row in rows])
    if (falls := np.flatnonzero(np.diff(at_ms) < 0)).size:
        line = rows[int(falls[0]) + 1][0]
        raise BadTrace(f"{path}, line {line}: {at_ms[falls[0] + 1]:g} ms is before {at_ms[falls[0]]:g} ms")
    length_s = float(np.ceil(max(at_ms[-1], 1.0) / 1e3 / BIN_S)) * BIN_S
    bins = round(length_s / BIN_S)
    counted, _ = np.histogram(at_ms / 1e3, bins=bins, range=(0.0, length_s))
    rates = np.asarray(counted * PACKET_BITS / BIN_S, dtype=np.float64)
    return LinkTrace(path.stem, np.asarray(np.arange(bins) * BIN_S, dtype=np.float64), rates, length_s)


def _pieced(path: Path, seen: Sequence[Seen]) -> ReadTrace:
    """Measured seconds put together, what was not measured cut out."""
    if not seen:
        raise BadTrace(f"{path}: in no line of it the link was in use")
    for before, after in pairwise(seen):
        if after.at_s < before.at_s:
            raise BadTrace(f"{path}, line {after.line}: goes back in time by {before.at_s - after.at_s:g} s")
    for one in seen:
        if not (np.isfinite(one.bits_per_s) and one.bits_per_s >= 0):
            raise BadTrace(f"{path}, line {one.line}: the rate is {one.bits_per_s:g} bit/s")
    at_s, index = np.unique([one.at_s for one in seen], return_inverse=True)
    rates = np.bincount(index, [one.bits_per_s for one in seen]) / np.bincount(index)
    usual_s = float(np.median(np.diff(at_s))) if len(at_s) > 1 else 1.0
    spans_s = np.append(np.diff(at_s), usual_s)
    is_gap = spans_s > GAP * usual_s
    edges_s = np.append(0.0, np.cumsum(np.where(is_gap, usual_s, spans_s)))
    return ReadTrace(LinkTrace(path.stem, edges_s[:-1], rates, float(edges_s[-1])), int(is_gap.sum()))
