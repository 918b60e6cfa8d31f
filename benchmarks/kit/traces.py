"""Goodput of real radio links, second by second: two published formats are read, and traces like them are drawn.

Read are the folders of users' own copies; nothing of them is kept here.
- 5G, 1 Hz: CSV with a header, of which `DL_bitrate` (kbit/s) is the capacity while `State` is D, downloading. (Raca
  et al., Beyond Throughput, The Next Generation: a 5G Dataset, MMSys 2020.)
- LTE, 1 Hz: `value,unit` a line, Mbits/sec or Kbits/sec, measured by iPerf. (Mei et al., Realtime Mobile Bandwidth
  Prediction Using LSTM Neural Network, PAM 2019.)
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

BYTES_PER_S = {"Mbits/sec": 125e3, "Kbits/sec": 125.0, "bits/sec": 0.125}
LEAST_BYTES_PER_S = 1250.0  # what a silent second is taken for: nobody waits for ever
LEVELS_MBPS = (0.05, 1.5, 6.0, 15.0, 40.0, 120.0)  # of drawn traces
STAY = 0.9  # probability that a drawn level lasts another second
SWING = 0.2  # log standard deviation about a level, second by second


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One link's goodput, one value a second; none below LEAST_BYTES_PER_S."""

    name: str
    bytes_per_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.bytes_per_s:
            raise SystemExit(f"{self.name}: the trace has no second in which the link was in use")


def read_traces(folder: Path) -> tuple[Trace, ...]:
    """Every .csv below the folder, by path. SystemExit for one of neither format, by its name, or if there is none."""
    found = tuple(_read(path) for path in sorted(folder.rglob("*.csv")))
    if not found:
        raise SystemExit(f"{folder}: no .csv in it; name a folder with 5G or LTE traces")
    return found


def _read(path: Path) -> Trace:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        rates = (
            _of_5g(rows) if rows[0][0] == "Timestamp" else [float(value) * BYTES_PER_S[unit] for value, unit in rows]
        )
    except (ValueError, KeyError, IndexError) as error:
        raise SystemExit(f"{path}: neither a 5G trace (DL_bitrate, State) nor value,unit lines: {error!r}") from error
    return Trace(name=path.stem, bytes_per_s=_held_up(rates))


def _of_5g(rows: Sequence[Sequence[str]]) -> list[float]:
    rate, state = rows[0].index("DL_bitrate"), rows[0].index("State")
    return [float(row[rate]) * BYTES_PER_S["Kbits/sec"] for row in rows[1:] if row[state] == "D"]


def drawn_trace(seed: int, seconds: int) -> Trace:
    """A Markov-modulated trace: a level lasts ten seconds on average, then another one is as likely as any."""
    draw = Random(seed)
    level, rates = draw.choice(LEVELS_MBPS), []
    for _ in range(seconds):
        rates.append(level * draw.lognormvariate(0.0, SWING) * BYTES_PER_S["Mbits/sec"])
        if draw.random() > STAY:
            level = draw.choice([other for other in LEVELS_MBPS if other != level])
    return Trace(name=f"drawn {seed}", bytes_per_s=_held_up(rates))


def _held_up(rates: Sequence[float]) -> tuple[float, ...]:
    return tuple(max(rate, LEAST_BYTES_PER_S) for rate in rates)
