"""What a node can refuse or lose, each error with its facts. Vendor exceptions are mapped to these."""


class NodesError(Exception):
    """Root of this package's errors; the message is one line that names the thing and the way out."""


class EngineMissing(NodesError):
    """A backend whose package is not installed, or installed twice over; names the install commands."""


class UnsupportedOperator(NodesError):
    """An operator that a backend cannot compile: which operator, which backend."""


class CompileError(NodesError):
    """An engine refused a stage for another reason than an unsupported operator."""


class RunError(NodesError):
    """A stage failed on an input: a wrong name, dtype or shape, or the engine's own failure."""


class BadInput(RunError):
    """The caller's tensors do not fit the model: missing, surplus, wrong dtype or wrong shape."""


class MalformedFrame(NodesError):
    """Bytes that are no frame of a version spoken here; never fatal to a stream."""


class StreamClosed(NodesError):
    """The peer is gone or refused the stream."""


class ArtifactError(NodesError):
    """An artifact that is missing, truncated or not what its SHA-256 promised."""


class NotAuthorised(NodesError):
    """A missing or wrong token, or a controller that did not claim this worker."""
