"""What planning can refuse, each error with its facts. No plan that fits is a result, not an error."""


class PartitionerError(Exception):
    """Root of this package's errors; the message is one line that names the thing and the way out."""


class InvalidModel(PartitionerError):
    """The model cannot be read as a graph: not ONNX, a name defined twice, a shape unknown."""


class InvalidTopology(PartitionerError):
    """Nodes or links that contradict themselves: dangling, duplicate, zero rate, unreachable."""


class InvalidProblem(PartitionerError):
    """A question that cannot be asked: an unknown input, node or engine."""
