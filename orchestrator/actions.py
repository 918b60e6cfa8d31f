"""Everything the routing core can want done, as values. The router carries them out in the order given.

Nobody changes one. They aren't `frozen` only because that more than doubles what making one costs, and a simulation
makes three for each of millions of requests.
"""

from dataclasses import dataclass

from partitioner.topology import NodeId


@dataclass(slots=True, unsafe_hash=True)
class Send:
    """Send the request's inputs to the first stage of this epoch as this attempt, with what is left of its budget.

    `way`: the node of each stage in order, where stages have replicas.
    """

    request: str
    attempt: int
    epoch: int
    budget_s: float
    way: tuple[NodeId, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Cancel:
    """Tell the epoch's stages that nobody waits for this attempt any more, and forget outputs kept for it.

    `way` is the one that it was sent.
    """

    request: str
    attempt: int
    epoch: int
    way: tuple[NodeId, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Deliver:
    """Hand the outputs of this attempt to the caller; all of them are there."""

    request: str
    attempt: int
    epoch: int


@dataclass(slots=True, unsafe_hash=True)
class FailRequest:
    """Tell the caller that the request has failed.

    `kind`: "caller" (its inputs do not fit), "input" (stages make no sound output of it, here and there alike),
    "worker" (every attempt failed), "quarantined" (workers died with it), "timeout", "closed" (the deployment is
    draining or gone: ask again later), or "sequence" (a stage lacks the state that it continues). `alone`: workers that
    died while it was alone with them.
    """

    request: str
    kind: str
    error: str
    alone: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Suspect:
    """Tell the controller that this stage gives bad outputs, no fault of its inputs, and why that is believed.

    `node` tells which of its replicas, if it has some.
    """

    epoch: int
    stage: str
    error: str
    node: NodeId = ""


@dataclass(slots=True, unsafe_hash=True)
class Release:
    """The request has ended: its inputs need be kept no longer."""

    request: str


@dataclass(slots=True, unsafe_hash=True)
class Drained:
    """The epoch has no request left here and will get none; said once."""

    epoch: int


Action = Send | Cancel | Deliver | FailRequest | Suspect | Release | Drained
