"""What a worker is told about one stage: values only, and their form as a msgpack map."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nodes.backend import Option
from nodes.codec import CODECS
from nodes.errors import NodesError

_TUPLES = ("sends", "returns", "unbounded", "preferred", "kept", "carries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """The stage that follows, and the worker that holds it."""

    stage: str
    address: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A further stage that reads what this one makes, where branches run side by side, and which tensors go there."""

    successor: Successor
    sends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage of one deployment at one epoch.

    `others` are replicas of the `successor`: a frame goes to the one that its header's way names.
    `sends` go to the successor: outputs of this stage and tensors that it passes on, still encoded. `returns` are
    model outputs that go straight back to the router. `codecs` names the codec of each output that is encoded
    here (raw if absent). `options` are the engine's own. `slowdown` multiplies the stage's busy time by sleeping;
    one-machine use only. Up to `max_batch` rows share a run, as batching.py says. `unbounded` outputs may hold NaN and
    infinities; a run is planned to take `expected_s`. `state` maps outputs to the inputs that they are one step later;
    they, and the inputs in `kept`, are held for each sequence (sequences.py), for `most_sequences` and
    `sequence_bytes` at the most, and forgotten after `idle_s` of silence. `carries`: state and kept inputs of later
    stages, passed on where a frame holds them. `any_length`: it takes every length of a model that has several.
    Of a plan whose branches run side by side, `further` stages get messages of their own, and a request runs once the
    messages of all `gathers` senders are there.
    """

    deployment: str
    epoch: int
    stage: str
    artifact: str
    backend: str
    node: str = ""
    precision: str = "float32"
    threads: int = 1
    options: Mapping[str, Option] = field(default_factory=dict)
    slowdown: float = 1.0
    successor: Successor | None = None
    others: tuple[Successor, ...] = ()
    codecs: Mapping[str, str] = field(default_factory=dict)
    sends: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    max_batch: int = 1
    max_delay_s: float = 0.0
    queue_limit: int = 1024
    preferred: tuple[int, ...] = ()
    unbounded: tuple[str, ...] = ()
    expected_s: float | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    idle_s: float = 60.0
    most_sequences: int = 1024
    sequence_bytes: int = 1 << 29
    any_length: bool = False
    further: tuple[Branch, ...] = ()
    gathers: int = 1

    def __post_init__(self) -> None:
        where = f"stage {self.stage!r} of {self.deployment!r}"
        if self.slowdown < 1 or self.threads < 1 or self.max_batch < 1 or self.epoch < 0:
            raise NodesError(f"{where}: slowdown, threads and max_batch start at 1, epoch at 0")
        if self.gathers < 1:
            raise NodesError(f"{where}: gathers starts at 1, is {self.gathers}: nobody would send it anything")
        if self.sends and self.successor is None:
            raise NodesError(f"{where} sends {', '.join(self.sends)} but has no successor")
        if not self.sends and not self.returns:
            raise NodesError(f"{where} neither sends nor returns a tensor")
        if unknown := sorted(set(self.codecs.values()) - set(CODECS)):
            raise NodesError(f"{where}: no codec {unknown[0]!r}; known are {', '.join(CODECS)}")

    @property
    def following(self) -> tuple[Successor, ...]:
        """Every worker that holds the next stage; none after the last one."""
        return () if self.successor is None else (self.successor, *self.others)

    @property
    def leaving(self) -> tuple[str, ...]:
        """All that goes to other stages, each once: what the successor is sent, then what the further ones are."""
        return tuple(dict.fromkeys((*self.sends, *(name for branch in self.further for name in branch.sends))))

    def next_on(self, way: tuple[str, ...]) -> Successor | None:
        """Where a frame with this way goes next: the first where it names none that is known. None after the last."""
        return next((one for one in self.others if way and one.node == way[0]), self.successor)

    def to_map(self) -> dict[str, Any]:
        """As a map of plain values."""
        return asdict(self)

    @classmethod
    def from_map(cls, given: Mapping[str, Any]) -> "StageSpec":
        """From a map; a key of a newer peer is ignored. NodesError if a key is missing or a value makes no sense."""
        known = {item.name: given[item.name] for item in fields(cls) if item.name in given}
        try:
            if known.get("successor") is not None:
                known["successor"] = Successor(**known["successor"])
            known["others"] = tuple(Successor(**other) for other in known.get("others", ()))
            known |= {name: tuple(known[name]) for name in _TUPLES if name in known}
            known["further"] = tuple(
                Branch(successor=Successor(**branch["successor"]), sends=tuple(branch["sends"]))
                for branch in known.get("further", ())
            )
            return cls(**known)
        except TypeError as error:
            raise NodesError(f"stage spec {given.get('stage')!r} is malformed: {error}") from None
