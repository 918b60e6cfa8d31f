"""How items of several modalities are joined, as values and as the YAML that means them.

    align:
      by: [photo]                 # each item of these asks one request; or every_ms and window_ms instead
      under_way: 8                # requests at once
      modalities:
        photo: {deadline_ms: 500}
        sound: {tolerance_ms: 200, lateness_ms: 100, wait_ms: 300, missing: without, instead: 0, priority: 1}

What it says of a deployment's inputs is held against them by standing_in.py. Times are of capture, by the sensors'
clocks as far as those were corrected (skew.py), but for waits and deadlines, that run on the clock of who aligns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.aligning.kept_array import KeptArray
from orchestrator.yaml_file import StrictModel

Missing = Literal["wait", "without", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """One source's terms, in seconds.

    tolerance_s: how far its capture time may be from that of the item that asks. lateness_s: by how much its items may
    come out of order; the watermark is the newest capture time less this (Akidau et al., Dataflow, VLDB 2015).
    wait_s: how long an item that asks waits for it. missing: what then; "wait" gives the request up, "without" asks
    without it, "last" with the last one there was. priority: 0 goes first; deadline_s: an item that asks is not asked
    any more so long after it came. most: items held at once. inputs: which of a deployment's inputs its items have;
    empty where nothing says so. instead: what stands for each of them in a request that is asked without it.
    """

    tolerance_s: float = 0.1
    lateness_s: float = 0.0
    wait_s: float = 0.5
    missing: Missing = "wait"
    priority: int = 0
    deadline_s: float | None = None
    most: int = 256
    inputs: tuple[str, ...] = ()
    instead: Mapping[str, KeptArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignTerms:
    """Either each item of the modalities `by` asks, or each window: `window_s` long, one every `every_s`, in which
    there is an item; of each modality the newest in it is taken.
    """

    modalities: Mapping[str, Modality]
    by: tuple[str, ...] = ()
    every_s: float = 0.0
    window_s: float = 0.0
    under_way: int = 8


class ModalityModel(StrictModel):
    """One entry of `modalities`."""

    tolerance_ms: Annotated[float, Field(ge=0)] = 100.0
    lateness_ms: Annotated[float, Field(ge=0)] = 0.0
    wait_ms: Annotated[float, Field(ge=0)] = 500.0
    missing: Missing = "wait"
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    deadline_ms: Annotated[float, Field(gt=0)] | None = None
    most: Annotated[int, Field(ge=1, le=100_000)] = 256
    inputs: Annotated[list[str], Field(min_length=1)] | None = None
    instead: float | str | dict[str, float | str] | None = None


class AlignModel(StrictModel):
    """The mapping `align`."""

    modalities: Annotated[dict[str, ModalityModel], Field(min_length=1)]
    by: Annotated[list[str], Field(min_length=1)] | None = None
    every_ms: Annotated[float, Field(gt=0)] | None = None
    window_ms: Annotated[float, Field(gt=0)] | None = None
    under_way: Annotated[int, Field(ge=1, le=10_000)] = 8

    @model_validator(mode="after")
    def _one_way(self) -> "AlignModel":
        if (self.by is None) == (self.every_ms is None):
            raise ValueError("should say either by (whose items ask) or every_ms (windows), and says both or none")
        if unknown := next((name for name in self.by or () if name not in self.modalities), None):
            raise ValueError(f"by: {unknown!r} is none of the modalities, which are {', '.join(self.modalities)}")
        if self.window_ms is not None and self.every_ms is None:
            raise ValueError("window_ms: goes with every_ms; add it")
        if self.window_ms is not None and self.every_ms is not None and self.window_ms < self.every_ms:
            raise ValueError(f"window_ms: {self.window_ms:g} leaves gaps between windows every {self.every_ms:g} ms")
        return self

    def terms(self) -> AlignTerms:
        """The same in SI units."""
        every_s = (self.every_ms or 0.0) / 1e3
        return AlignTerms(
            modalities={name: _modality(one) for name, one in self.modalities.items()},
            by=tuple(dict.fromkeys(self.by or ())),
            every_s=every_s,
            window_s=every_s if self.window_ms is None else self.window_ms / 1e3,
            under_way=self.under_way,
        )


def _modality(given: ModalityModel) -> Modality:
    return Modality(
        tolerance_s=given.tolerance_ms / 1e3,
        lateness_s=given.lateness_ms / 1e3,
        wait_s=given.wait_ms / 1e3,
        missing=given.missing,
        priority=given.priority,
        deadline_s=None if given.deadline_ms is None else given.deadline_ms / 1e3,
        most=given.most,
    )
