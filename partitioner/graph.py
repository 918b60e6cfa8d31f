"""A model as planning sees it: operators in topological order and the activations between them.

Weights appear as names and sizes only. This file knows nothing of ONNX.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from partitioner.errors import InvalidModel

FUNCTION_DOMAIN = "isthmus"  # operators of this domain are registered Python functions

DTYPE_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8,
    "string": 16,  # an element of text is of any length: a word, say
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A tensor made by one operator (or given as a model input) and read by others.

    `producer` and `consumers` are indices into `Graph.operators`; a model input has producer None.
    A `dynamic` activation's shape is that of a sample (an encoded image, say), so sizes are typical.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    producer: int | None
    consumers: tuple[int, ...]
    dynamic: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the raw tensor."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One ONNX node, or one registered function.

    `inputs` names each activation read, once, those read only inside If/Loop bodies included;
    `weights` names the initialisers read. Optional inputs ("") are left out.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()

    @property
    def is_function(self) -> bool:
        """Whether this is a registered Python function, run outside every engine."""
        return self.domain == FUNCTION_DOMAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A DAG of operators. `inputs` and `outputs` are the model's, by activation name and in its order."""

    name: str
    operators: tuple[Operator, ...]
    activations: Mapping[str, Activation]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights_bytes: Mapping[str, int]

    def __post_init__(self) -> None:
        names = [operator.name for operator in self.operators]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidModel(f"{self.name}: operator name {twice!r} is used twice; names must be unique")
        for index, operator in enumerate(self.operators):
            for name in operator.inputs:
                producer = self.activations[name].producer
                if producer is not None and producer >= index:
                    raise InvalidModel(f"{self.name}: operator {operator.name!r} reads {name!r} before it is made")

    def weights_of(self, operators: Iterable[int]) -> int:
        """Bytes of the weights that these operators read, shared ones counted once."""
        names = {name for index in operators for name in self.operators[index].weights}
        return sum(self.weights_bytes[name] for name in names)
