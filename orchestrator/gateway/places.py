"""What parameters say: where tensors lie in shared memory, how many classes are wanted, how long it may take, and
which sequence a request is a step of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nodes.batching import LOWEST
from orchestrator.gateway.faults import invalid
from orchestrator.gateway.models import Wanted
from orchestrator.gateway.shared_memory import Place
from orchestrator.terms import Step

REGION, SIZE, OFFSET, CLASSES = (
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
    "classification",
)
SEQUENCE, STARTS, ENDS = "sequence_id", "sequence_start", "sequence_end"
MOST, MOST_NAME = 1 << 62, 200


@dataclass(frozen=True, slots=True)
class Places:
    """Which outputs go into shared memory, and where."""

    by_output: Mapping[str, Place] = field(default_factory=dict)

    @staticmethod
    def of(what: str, parameters: Mapping[str, Any]) -> Place | None:
        """Where a tensor lies; None if it comes with the request."""
        region = parameters.get(REGION)
        if region is None:
            return None
        if not isinstance(region, str) or not region:
            raise invalid(f"{what}: parameter {REGION}: should be a region's name")
        return Place(region=region, nbytes=_whole(what, parameters, SIZE), offset=_whole(what, parameters, OFFSET, 0))

    @classmethod
    def among(cls, outputs: Sequence[tuple[str, Mapping[str, Any]]]) -> "Places":
        """Those of the outputs asked for."""
        found = {name: cls.of(f"output {name!r}", parameters) for name, parameters in outputs}
        return cls({name: place for name, place in found.items() if place is not None})


def wanted_of(outputs: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Wanted, ...]:
    """The outputs asked for."""
    return tuple(
        Wanted(name=name, classes=_whole(f"output {name!r}", parameters, CLASSES, 0)) for name, parameters in outputs
    )


def budget_of(parameters: Mapping[str, Any], remaining_s: float | None) -> float | None:
    """Seconds that a request may take: its `timeout` in microseconds, and what is left of its call's deadline."""
    told = parameters.get("timeout", 0)
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= MOST:
        raise invalid(f"parameter timeout: should be microseconds, is {_shown(told)}")
    known = [seconds for seconds in (remaining_s, told / 1e6 or None) if seconds is not None]
    return min(known, default=None)


def priority_of(parameters: Mapping[str, Any]) -> int:
    """Whose turn it is: 1 first, LOWEST last; 0, or nothing said, is the normal one."""
    told = parameters.get("priority", 0)
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= LOWEST:
        raise invalid(
            f"parameter priority: should be a whole number from 1, the highest, to {LOWEST}, is {_shown(told)}"
        )
    return told


def step_of(parameters: Mapping[str, Any], owner: str) -> Step | None:
    """The step of a sequence that a request is; None without a sequence_id, or with 0 or "", as clients write none."""
    told = parameters.get(SEQUENCE, 0)
    if isinstance(told, bool) or not isinstance(told, int | str):
        raise invalid(f"parameter {SEQUENCE}: should be a whole number or a name, is {_shown(told)}")
    if len(str(told)) > MOST_NAME:
        raise invalid(f"parameter {SEQUENCE}: should have {MOST_NAME} characters at most")
    ends = [parameters.get(name, False) for name in (STARTS, ENDS)]
    for name, end in zip((STARTS, ENDS), ends, strict=True):
        if not isinstance(end, bool):
            raise invalid(f"parameter {name}: should be true or false, is {_shown(end)}")
        if end and not told:
            raise invalid(f"parameter {name}: of which sequence? give {SEQUENCE}")
    return Step(sequence=str(told), start=ends[0], end=ends[1], owner=owner) if told else None


def _whole(what: str, parameters: Mapping[str, Any], name: str, otherwise: int | None = None) -> int:
    found = parameters.get(name, otherwise)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST:
        raise invalid(f"{what}: parameter {name}: should be a whole number from 0 on, is {_shown(found)}")
    return found


def _shown(value: Any) -> str:
    """In a message; some whole numbers are too long to be written."""
    is_long = isinstance(value, int) and abs(value) > MOST
    return "beyond what there is" if is_long else repr(value)[:80]
