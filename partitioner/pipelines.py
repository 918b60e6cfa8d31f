"""Throughput as a question of its own: operators over pools of devices, one contiguous piece a device.

A device's load is the seconds it is busy for each request; the largest load of all devices is the time between two
answers of a full pipeline. Source: Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph
Operators" (NeurIPS 2020), whose instances instances.py reads. This file prices pieces and judges them; it searches
nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isinf

import numpy as np

from partitioner.errors import InvalidProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Some devices of one kind. `seconds` of each operator there, infinite where the kind can't run it.

    `pays_transfers`: whether what crosses the edge of a device's piece is part of its load.
    """

    name: str
    count: int
    seconds: tuple[float, ...]
    memory_bytes: float = inf
    pays_transfers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInstance:
    """Operators by number: their names, who reads whom, and what each one's result costs to send or receive.

    `reads` holds (producer, consumer) pairs; `transfer_s` and `nbytes` (weights) are one an operator; `together`
    are groups that must share a device. `overlapped`: a device transfers while it computes, so that its load is the
    larger of both rather than their sum. `most_replicas`: on how many devices of a pool a piece may run, each then
    serving its share of the requests.
    """

    name: str
    operators: tuple[str, ...]
    reads: tuple[tuple[int, int], ...]
    transfer_s: tuple[float, ...]
    nbytes: tuple[float, ...]
    pools: tuple[Pool, ...]
    together: tuple[tuple[int, ...], ...] = ()
    overlapped: bool = False
    most_replicas: int = 1

    def __post_init__(self) -> None:
        count = len(self.operators)
        rows = [self.transfer_s, self.nbytes, *(pool.seconds for pool in self.pools)]
        if any(len(row) != count for row in rows):
            raise InvalidProblem(f"{self.name}: every figure is wanted once for each of {count} operators")
        if any(value < 0 or value != value for row in rows for value in row):  # noqa: PLR0124 (NaN)
            raise InvalidProblem(f"{self.name}: seconds and bytes must not be negative or NaN")
        for number in (*(n for pair in self.reads for n in pair), *(n for group in self.together for n in group)):
            if not 0 <= number < count:
                raise InvalidProblem(f"{self.name}: operator number {number} is not one of 0…{count - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Operators that run on the devices `replicas` (numbers within the pool), each with 1/len of the requests."""

    pool: int
    replicas: tuple[int, ...]
    operators: tuple[int, ...]


def load_s(instance: PipelineInstance, piece: Piece) -> float:
    """Busy seconds per request of each of the piece's devices; infinite where an operator can't run."""
    inside = set(piece.operators)
    pool = instance.pools[piece.pool]
    compute_s = sum(pool.seconds[operator] for operator in piece.operators)
    crossing = {a for a, b in instance.reads if (a in inside) != (b in inside)}
    transfers_s = sum(instance.transfer_s[producer] for producer in crossing) if pool.pays_transfers else 0.0
    total_s = max(compute_s, transfers_s) if instance.overlapped else compute_s + transfers_s
    return total_s / len(piece.replicas)


def largest_load_s(instance: PipelineInstance, pieces: Sequence[Piece]) -> float:
    """Seconds between two answers when the pipeline is full."""
    return max((load_s(instance, piece) for piece in pieces), default=0.0)


def faults(instance: PipelineInstance, pieces: Sequence[Piece]) -> Iterator[str]:
    """Everything that is wrong with the pieces, in the order that a request meets them; nothing if all holds."""
    at: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        for operator in piece.operators:
            if operator in at:
                yield f"operator {instance.operators[operator]} is placed twice"
            at[operator] = number
    for operator in set(range(len(instance.operators))) - set(at):
        yield f"operator {instance.operators[operator]} is nowhere"
    for a, b in instance.reads:
        if at.get(a, 0) > at.get(b, len(pieces)):
            yield f"{instance.operators[b]} runs before {instance.operators[a]}, which it reads"
    for group in instance.together:
        if len({at.get(operator) for operator in group}) > 1:
            yield f"{', '.join(instance.operators[operator] for operator in group)} do not share a device"
    yield from _device_faults(instance, pieces)


def _device_faults(instance: PipelineInstance, pieces: Sequence[Piece]) -> Iterator[str]:
    taken = [(piece.pool, device) for piece in pieces for device in piece.replicas]
    for number, device in taken:
        if not 0 <= device < instance.pools[number].count or taken.count((number, device)) > 1:
            yield f"device {instance.pools[number].name}{device} is none, or used twice"
    for piece in pieces:
        pool = instance.pools[piece.pool]
        held = float(np.sum([instance.nbytes[operator] for operator in piece.operators]))
        if not piece.replicas or len(piece.replicas) > instance.most_replicas:
            yield f"a piece on {len(piece.replicas)} devices; 1 to {instance.most_replicas} are allowed"
        if held > pool.memory_bytes:
            yield f"{pool.name} holds {pool.memory_bytes:g} bytes, its piece has {held:g}"
        if isinf(load_s(instance, piece)):
            yield f"{pool.name} can't run all of its piece"
