"""Deployments as their clients see them: models with versions, tensors and readiness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from nodes.backend import Array, TensorSpec
from nodes.batching import BatchRules
from orchestrator.answers import Answer
from orchestrator.gateway.datatypes import DATATYPE_OF, DTYPE_OF
from orchestrator.gateway.faults import Fault, Refused, invalid
from orchestrator.padding import Lengths, Pads, padded, too_long
from orchestrator.sequence_terms import Stateful
from orchestrator.terms import Step

PLATFORM = "isthmus"
MOST_FAULTS, MOST_SHOWN, MOST_DIGITS = 5, 16, 18  # that are told
UNNUMBERED = 1  # what a version is called whose number nobody told


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A deployment: the version in use, all that answer (one on trial last), what it takes and gives.

    A dimension of None is free. Requests wait by the `rules`; if its `max_batch` is more than 1, so many rows share a
    run, and rows are the first axis. Inputs in `pads` may be shorter than `compiled` says, and are filled up to one of
    their `lengths`. `width`: workers that can be busy with its requests at once, twice over.
    """

    name: str
    version: int
    versions: tuple[int, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    rules: BatchRules = field(default_factory=BatchRules)
    pads: Pads = field(default_factory=dict)
    lengths: Lengths = field(default_factory=dict)
    compiled: tuple[TensorSpec, ...] = ()
    width: int = 2
    sequence: Stateful | None = None  # of a model that is asked in steps of sequences

    def numbered(self, version: str) -> int | None:
        """The version that a client names; None where it names none. Refused for one that is not there."""
        if not version:
            return None
        if not (version.isascii() and version.isdecimal() and len(version) <= MOST_DIGITS):
            raise invalid(f"model {self.name!r}: {version[:40]!r} is no version's number")
        if int(version) not in self.versions:
            there = ", ".join(map(str, self.versions))
            raise Refused(Fault.NOT_FOUND, f"model {self.name!r} has no version {version}; there is {there}")
        return int(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a request brings along beside its tensors. `version` None: the one in use, or as a trial's split says."""

    budget_s: float
    version: int | None = None
    key: str = ""
    priority: int = 0
    step: Step | None = None

    def within(self, budget_s: float) -> "Asking":
        """The same, within another time."""
        return replace(self, budget_s=budget_s)


class Source(Protocol):
    """Where answers come from."""

    def models(self) -> tuple[str, ...]:
        """Names of what can be asked."""
        ...

    def model(self, name: str) -> Model | None:
        """What is known of a model; None if there is none of that name."""
        ...

    def is_ready(self, name: str) -> bool:
        """Whether a request would be sent on at once, as far as is known here."""
        ...

    def is_live(self) -> bool:
        """Whether this process still does its work."""
        ...

    async def answer(self, name: str, feeds: Mapping[str, Array], asking: Asking) -> Answer:
        """The answer with every stage's timings; errors as Router.infer's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One input as a client gave it; `read` makes the tensor of its data, once it is known to be one of the model's."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One output that a client asks for; of `classes` > 0 so many of its greatest values, as text."""

    name: str
    classes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client asks of a model; without `wanted` all outputs. `budget_s` None: as long as the gateway allows."""

    id: str = ""
    inputs: tuple[Given, ...]
    wanted: tuple[Wanted, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    budget_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output as a client gets it."""

    name: str
    datatype: str
    array: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a question."""

    model: str
    version: int
    id: str
    outputs: tuple[Output, ...]


def check_step(model: Model, step: Step | None) -> None:
    """Refused for a step of a sequence where the model knows none, and for none where it does."""
    if step is None and model.sequence is not None:
        raise invalid(f"model {model.name!r} keeps state between requests: give sequence_id, sequence_start at first")
    if step is not None and model.sequence is None:
        raise invalid(f"model {model.name!r} keeps no state between requests: leave sequence_id out")


def feeds_of(model: Model, question: Question, *, begins: bool = False) -> dict[str, Array]:
    """What the stages are given. Refused with all that is amiss: what was expected and what came.

    The request that `begins` a sequence gives what is kept, too.
    """
    inputs = model.inputs if model.sequence is None or not begins else (*model.inputs, *model.sequence.kept)
    known = {spec.name: spec for spec in inputs}
    given: dict[str, Given] = {}
    faults: list[str] = []
    for one in question.inputs:
        spec = known.get(one.name)
        if spec is None:
            faults.append(f"it has no input {one.name!r}")
        elif one.name in given:
            faults.append(f"input {one.name!r} is given twice")
        else:
            faults += _misfits(spec, one)
            if long := too_long(one.name, model.pads, model.lengths, one.shape):
                faults.append(long)
            given[one.name] = one
        if len(faults) > MOST_FAULTS:
            break
    faults += [f"input {name!r} is missing" for name in known if name not in given]
    if faults:
        raise invalid(f"model {model.name!r}: {'; '.join(faults[:MOST_FAULTS])}; it takes {_told(inputs)}")
    feeds = {name: one.read() for name, one in given.items()}
    return dict(padded(model.compiled, model.pads, feeds, model.lengths))


def _misfits(spec: TensorSpec, given: Given) -> list[str]:
    wanted, came, faults = DATATYPE_OF.get(spec.dtype, spec.dtype), given.shape, list[str]()
    if given.datatype not in DTYPE_OF:
        faults.append(f"input {spec.name!r}: there is no datatype {given.datatype!r}")
    elif given.datatype != wanted:
        faults.append(f"input {spec.name!r} is {given.datatype}, expected {wanted}")
    if len(came) != len(spec.shape) or any(w not in (None, h) for w, h in zip(spec.shape, came, strict=True)):
        shown = list(came) if len(came) <= MOST_SHOWN else f"of {len(came)} dimensions"
        faults.append(f"input {spec.name!r} has shape {shown}, expected {shape_of(spec)}")
    return faults


def _told(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name}: {DATATYPE_OF.get(spec.dtype, spec.dtype)}{shape_of(spec)}" for spec in specs)


def shape_of(spec: TensorSpec) -> list[int]:
    """A shape as the protocol writes it: -1 for what is free."""
    return [-1 if extent is None else extent for extent in spec.shape]


def check_wanted(model: Model, question: Question) -> tuple[Wanted, ...]:
    """The outputs to give. Refused for one that there is not, or that is asked for twice."""
    names = [spec.name for spec in model.outputs]
    asked = [wanted.name for wanted in question.wanted]
    for place, name in enumerate(asked):
        if name not in names:
            raise invalid(f"model {model.name!r} has no output {name!r}; it gives {', '.join(names)}")
        if name in asked[:place]:
            raise invalid(f"model {model.name!r}: output {name!r} is asked for twice")
    return question.wanted or tuple(Wanted(name=name) for name in names)
