"""What a job is, and how it stands: values, with their JSON forms."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orchestrator.states import JOB_ENDS

IN_FLIGHT = 16
TIMEOUT_S = 300.0
Kind = Literal["dataset", "script"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where a driver's cluster is, as a Bond wants it."""

    address: str
    folder: str
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerms:
    """What is to be done. Paths are absolute and lie where the cluster's head is.

    Of a dataset: `data`, `output`, and a `deployment` that is there or the file `spec` of one to have meanwhile;
    `in_flight` items are asked at once, each for `timeout_s` at most. Of a script: `script`, `arguments`, `folder`.
    """

    name: str
    kind: Kind = "dataset"
    data: str = ""
    output: str = ""
    deployment: str = ""
    spec: str = ""
    in_flight: int = IN_FLIGHT
    timeout_s: float = TIMEOUT_S
    script: str = ""
    arguments: tuple[str, ...] = ()
    folder: str = ""

    def to_json(self) -> str:
        """As it is kept on disk."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "JobTerms":
        """As `to_json` wrote it, or an older version; what a newer one added is left out."""
        told: dict[str, Any] = {key: value for key, value in json.loads(text).items() if key in cls.__slots__}
        return cls(**told | {"arguments": tuple(told.get("arguments", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job stands. Times are seconds since 1970; `rate_per_s` and `eta_s` are None where nobody knows.

    `done` counts items that are over, those that `failed` included; `failures` lists the first of these with reasons.
    `restarts`: drivers that took over from one that died. `driver_pid` None: none runs now.
    """

    name: str
    state: str
    why: str
    terms: JobTerms
    submitted_s: float
    started_s: float | None = None
    ended_s: float | None = None
    total: int | None = None
    done: int = 0
    failed: int = 0
    rate_per_s: float | None = None
    eta_s: float | None = None
    restarts: int = 0
    driver_pid: int | None = None
    failures: tuple[tuple[str, str], ...] = field(default=())

    @property
    def is_over(self) -> bool:
        """Whether it has STOPPED, SUCCEEDED or FAILED."""
        return self.state in JOB_ENDS

    def plain(self) -> Mapping[str, Any]:
        """As JSON tells it."""
        told = asdict(self)
        told["failures"] = [{"item": item, "reason": reason} for item, reason in self.failures]
        return told
