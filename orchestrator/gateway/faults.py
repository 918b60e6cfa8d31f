"""What a client is told when it gets no answer: one table for gRPC's codes and HTTP's.

The codes are those that clients of the Open Inference Protocol know (KServe, "Open Inference Protocol V2"; Triton's
server where KServe says nothing).
"""

from enum import Enum

from nodes.errors import BadInput, NotAuthorised
from orchestrator.errors import (
    ClusterError,
    OrchestratorError,
    RequestFailed,
    RequestTimeout,
    SpecError,
    Unavailable,
    UnknownDeployment,
    UnknownVersion,
)
from partitioner.errors import InvalidModel

RETRY_S = 1.0
MOST_SAID = 1500  # characters: some messages name what clients sent, and gRPC puts them into a trailer of 8 kB


class Fault(Enum):
    """Why there is no answer: the name of gRPC's status code, and HTTP's number."""

    INVALID = ("INVALID_ARGUMENT", 400)
    UNAUTHENTICATED = ("UNAUTHENTICATED", 401)
    FORBIDDEN = ("PERMISSION_DENIED", 403)
    NOT_FOUND = ("NOT_FOUND", 404)
    TOO_LARGE = ("RESOURCE_EXHAUSTED", 413)
    TOO_MANY = ("RESOURCE_EXHAUSTED", 429)
    CANCELLED = ("CANCELLED", 499)
    INTERNAL = ("INTERNAL", 500)
    UNSUPPORTED = ("UNIMPLEMENTED", 501)
    UNAVAILABLE = ("UNAVAILABLE", 503)

    @property
    def grpc(self) -> str:
        """The name of gRPC's status code."""
        return self.value[0]

    @property
    def http(self) -> int:
        """HTTP's status code."""
        return self.value[1]


class Refused(OrchestratorError):
    """A request that gets no answer; the message is for its client. `retry_s`: when asking again may help."""

    def __init__(self, fault: Fault, message: str, *, retry_s: float | None = None) -> None:
        super().__init__(
            message if len(message) <= MOST_SAID else f"{message[:MOST_SAID]}…"
        )  # gRPC has it in a trailer
        self.fault = fault
        self.retry_s = RETRY_S if retry_s is None and fault is Fault.UNAVAILABLE else retry_s

    def __reduce__(self) -> tuple[type, tuple[Fault, str]]:
        return type(self), (self.fault, str(self))


def invalid(message: str) -> Refused:
    """The client's own mistake."""
    return Refused(Fault.INVALID, message)


_FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (BadInput, Fault.INVALID),
    (UnknownDeployment, Fault.NOT_FOUND),
    (UnknownVersion, Fault.NOT_FOUND),
    (Unavailable, Fault.UNAVAILABLE),
    (RequestTimeout, Fault.UNAVAILABLE),
    (NotAuthorised, Fault.UNAUTHENTICATED),
    (SpecError, Fault.INVALID),
    (InvalidModel, Fault.INVALID),
    (ClusterError, Fault.UNAVAILABLE),
)


def refusal_of(error: Exception) -> Refused:
    """What the client is told of an error that a router, a stage or the gateway itself raised."""
    if isinstance(error, Refused):
        return error
    told = next((fault for kind, fault in _FAULTS if isinstance(error, kind)), None)
    if told is None and isinstance(error, RequestFailed):
        told = Fault.INVALID if error.caller_fault else Fault.INTERNAL
    if told is None:
        return Refused(Fault.INTERNAL, " ".join(f"{type(error).__name__}: {error}".split()))
    return Refused(told, str(error), retry_s=getattr(error, "retry_after_s", None))
