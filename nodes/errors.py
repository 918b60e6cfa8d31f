"""What a node can refuse or lose, each error with its facts. Vendor exceptions are mapped to these."""


class NodesError(Exception):
    """Root of this package's errors; the message is one line that names the thing and the way out."""


class EngineMissing(NodesError):
    """A backend whose package is not installed, or installed twice over; names the install commands."""


class UnsupportedOperator(NodesError):
    """An operator that a backend cannot compile: which operator, which backend.

    `operator` is "" where the engine told the type only.
    """

    def __init__(self, message: str, *, operator: str = "", op_type: str = "", backend: str = "") -> None:
        super().__init__(message)
        self.operator = operator
        self.op_type = op_type
        self.backend = backend


class CompileError(NodesError):
    """An engine refused a stage for another reason than an unsupported operator."""


class RunError(NodesError):
    """A stage failed on an input: a wrong name, dtype or shape, or the engine's own failure."""


class BadInput(RunError):
    """The caller's tensors do not fit the model: missing, surplus, wrong dtype or wrong shape."""


class BadOutput(RunError):
    """A stage made a tensor of the wrong shape or dtype, or one that overflowed; the message says which and how."""


class StageHung(NodesError):
    """A run that doesn't come back; its worker is about to end itself."""


class MalformedFrame(NodesError):
    """Bytes that are no frame of a version spoken here; never fatal to a stream."""


class StreamClosed(NodesError):
    """The peer is gone or refused the stream."""


class Unsecured(StreamClosed):
    """TLS did not come about between here and a peer; the message says why and who is to do what."""


class ArtifactError(NodesError):
    """An artifact that is missing, truncated or not what its SHA-256 promised."""


class NotAuthorised(NodesError):
    """A missing or wrong token, or a controller that did not claim this worker."""


class UnknownEpoch(NodesError):
    """A frame for a deployment, epoch or stage that this worker doesn't hold."""


class SequenceLost(NodesError):
    """A step of a sequence whose state is not here as of the step before; the router brings it again."""


class ItemGone(NodesError):
    """A request means an item that its node does not hold: let go, or not put there yet."""


class BudgetExpired(NodesError):
    """A request whose time was up before it could run."""


class Overloaded(NodesError):
    """A stage whose queue is full."""
