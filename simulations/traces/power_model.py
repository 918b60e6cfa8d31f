"""Reads what language models took on GPUs, by batch: seconds and watts as published with Splitwise (Patel et al., ISCA
2024; Mutinifni/splitwise-sim, perf_model.csv, MIT). Users bring their own copy.

CSV with a header, a run a line: `model, hardware, tensor_parallel, prompt_size, batch_size, prompt_time, token_time`
(ms), `peak_power` and `average_power` (of the GPUs' design power; 0 where nobody measured). A prompt phase is measured
by its tokens, prompts × length, and draws the peak; a token phase by how many sequences go on together, and draws the
average, for nearly all of a run is spent in it. Several runs count as their median. What was not measured is refused,
not guessed: figures are interpolated between neighbours and never carried on.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from simulations.errors import BadTrace, OutOfRange
from simulations.radio.path_loss import Floats
from simulations.traces.text import read_named

Phase = Literal["prompt", "token"]
TDP_W: Mapping[str, float] = MappingProxyType({"a100-80gb": 400.0, "h100-80gb": 700.0})  # one GPU's, SXM
SIZES: Mapping[Phase, str] = MappingProxyType({"prompt": "tokens", "token": "sequences"})


class Setting(NamedTuple):
    """What was measured: so many GPUs of a kind that share a model, in one phase."""

    hardware: str
    model: str
    tensor_parallel: int
    phase: Phase


class Drawn(NamedTuple):
    """One step of a phase: seconds, and watts of all its GPUs together; None where these were not measured."""

    seconds: float
    watts: float | None


class _Run(NamedTuple):
    setting: Setting
    size: int
    seconds: float
    watts: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """By `sizes`, ascending: seconds of a step, and watts (NaN where none were measured)."""

    sizes: Floats
    seconds: Floats
    watts: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PowerModel:
    """All curves of a file."""

    curves: Mapping[Setting, Curve]

    def step(self, setting: Setting, size: float) -> Drawn:
        """A step with so many prompt tokens, or so many sequences of which each gets its next token.

        OutOfRange for what was not measured, and for sizes beyond the least and the most that were.
        """
        curve = self.curves.get(setting)
        if curve is None:
            known = ", ".join(_told(one) for one in self.curves if one.phase == setting.phase)
            raise OutOfRange(f"{_told(setting)} was not measured; there are {known or 'none'}")
        least, most = curve.sizes[0], curve.sizes[-1]
        if not least <= size <= most:
            what = SIZES[setting.phase]
            raise OutOfRange(f"{_told(setting)}: {size:g} {what}; measured from {least:g} to {most:g}")
        watts = float(np.interp(size, curve.sizes, curve.watts))  # NaN beside a point that has none
        return Drawn(float(np.interp(size, curve.sizes, curve.seconds)), watts if isfinite(watts) else None)


def read_power_model(path: Path, tdp_w: Mapping[str, float] = TDP_W) -> PowerModel:
    """A file's curves; `tdp_w` is the design power of one GPU by the file's names.

    BadTrace with the line that can't be read.
    """
    rows = read_named(path)
    found: dict[Setting, dict[int, list[_Run]]] = defaultdict(lambda: defaultdict(list))
    for line, row in enumerate(rows, 2):
        for run in _runs(_Line(f"{path}, line {line}", row), tdp_w):
            found[run.setting][run.size].append(run)
    if not found:
        raise BadTrace(f"{path}: tells of no run")
    return PowerModel(MappingProxyType({setting: _curve(sizes) for setting, sizes in sorted(found.items())}))


def _curve(found: Mapping[int, list[_Run]]) -> Curve:
    sizes = sorted(found)
    seconds = [float(np.median([run.seconds for run in found[size]])) for size in sizes]
    watts = [_median([run.watts for run in found[size] if isfinite(run.watts)]) for size in sizes]
    return Curve(np.array(sizes, dtype=np.float64), np.array(seconds), np.array(watts))


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else nan


class _Line(NamedTuple):
    """A line's cells by column, and where it stands."""

    where: str
    row: Mapping[str, str | None]

    def text(self, name: str) -> str:
        value = self.row.get(name)
        if value is None or not value.strip():
            raise BadTrace(f"{self.where}: has no {name}")
        return value.strip()

    def number(self, name: str, least: float) -> float:
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            raise BadTrace(f"{self.where}: {name} is {text!r}, not a number") from None
        if not (isfinite(value) and value >= least):
            raise BadTrace(f"{self.where}: {name} is {text}; from {least:g}")
        return value

    def count(self, name: str) -> int:
        value = self.number(name, 1)
        if value != int(value):
            raise BadTrace(f"{self.where}: {name} is {value:g}, not a whole number")
        return int(value)


def _runs(line: _Line, tdp_w: Mapping[str, float]) -> Iterator[_Run]:
    """Both phases of a line."""
    hardware, model, gpus = line.text("hardware"), line.text("model"), line.count("tensor_parallel")
    batch, tokens = line.count("batch_size"), line.count("batch_size") * line.count("prompt_size")
    phases: tuple[tuple[Phase, int, str, str], ...] = (
        ("prompt", tokens, "prompt_time", "peak_power"),
        ("token", batch, "token_time", "average_power"),
    )
    for phase, size, time, power in phases:
        share, ms = line.number(power, 0), line.number(time, 0)
        if not ms:
            raise BadTrace(f"{line.where}: {time} is 0; a step takes time")
        if share and hardware not in tdp_w:
            raise BadTrace(f"{line.where}: {power} of {hardware}, whose design power is not known; name it in tdp_w")
        watts = share * tdp_w[hardware] * gpus if share else nan
        yield _Run(Setting(hardware, model, gpus, phase), size, ms / 1e3, watts)


def _told(setting: Setting) -> str:
    return f"{setting.model} on {setting.tensor_parallel} × {setting.hardware} ({setting.phase} phase)"
