"""What a pipeline consists of. A wire is a source's name, or STEP.PORT; of a step with one port, STEP alone does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nodes.functions import Inferred, Param
from nodes.functions.params import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where data comes in: a tensor of this dtype and shape, None for what differs from item to item."""

    name: str
    dtype: str
    shape: Shape

    @property
    def inferred(self) -> Inferred:
        """What it gives."""
        return self.dtype, self.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """Runs a model. `inputs`: its inputs' names → the wires that they are fed from.

    One wire alone feeds the model's one input; of a model that takes several, each is fed from the port of its name.
    """

    name: str
    model: Path
    inputs: Mapping[str, str] | str

    @property
    def wires(self) -> tuple[str, ...]:
        """What it reads."""
        return wires_of(self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """Calls a registered function with what comes over `wires`, in its own order."""

    name: str
    function: str
    wires: tuple[str, ...]
    params: Mapping[str, Param] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Makes one tensor of several; `fusion` is a name in fusions.py."""

    name: str
    fusion: str
    wires: tuple[str, ...]
    params: Mapping[str, Param] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Says tokens one by one with a model that makes one step and keeps a state: the only kind of loop there is.

    `inputs`: those of the model's inputs that stay the same in every step → the wires that they are fed from; `state`:
    outputs → the inputs that get them one step later. The answer, port `tokens`, starts after `prefix`, and ends with
    token `end` or after `most`; `never` are not said, `never_first` not as the first.
    """

    name: str
    model: Path
    inputs: Mapping[str, str] | str
    state: Mapping[str, str]
    prefix: tuple[int, ...]
    end: int
    most: int
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()
    token: str = "token"
    position: str = "position"
    logits: str = "logits"

    @property
    def wires(self) -> tuple[str, ...]:
        """What it reads."""
        return wires_of(self.inputs)


def wires_of(inputs: Mapping[str, str] | str) -> tuple[str, ...]:
    """The wires that feed a model."""
    return (inputs,) if isinstance(inputs, str) else tuple(inputs.values())


Called = ModelCall | Loop
Step = Called | FunctionCall | Fusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Steps in any order. `outputs`: the names under which answers give wires. `where`: the file that says all this.

    Steps that run one model share its weights; `batched`, those that do not wait for each other run it once, their
    rows one below the other, but for those that `pinned` (step → node) has run at different nodes.
    """

    name: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    where: str = ""
    batched: bool = False
    pinned: Mapping[str, str] = field(default_factory=dict)

    def told(self, kind: str, name: str) -> str:
        """What errors call a step or an output of it."""
        return f"{self.where}: {kind}s.{name}" if self.where else f"{self.name}: {kind} {name!r}"
