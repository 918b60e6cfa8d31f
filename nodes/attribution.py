"""Shares an engine's times, reported per group of fused operators, out to the model's operators. Pure.

Engines fuse: a convolution with its activation is one kernel under one name. Unfused times divide a group among its
members; they do not divide the whole, since fusing speeds some operators up tenfold and leaves others as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SUFFIXES = ("_nchwc",)  # what ONNX Runtime appends to the name of an operator it replaced
# Operators that lend their kernel to neighbours; all others, when fused away, went into what makes their input.
_ANCHORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul"})


@dataclass(frozen=True, slots=True)
class Wiring:
    """One operator as attribution sees it; `makes` are its tensors, `feeds_from` and `feeds_to` operators' names."""

    name: str
    op_type: str
    makes: tuple[str, ...]
    feeds_from: tuple[str, ...]
    feeds_to: tuple[str, ...]


def attribute(
    operators: Sequence[Wiring], reported_s: Mapping[str, float], unfused_s: Mapping[str, float], total_s: float
) -> dict[str, float]:
    """Seconds per operator, which sum to `total_s`.

    `reported_s` maps an operator's or tensor's name, or several joined by commas, to seconds. Operators that no key
    names join the group that most likely took them in; time under unknown names is spread over those still left.
    """
    owner = {tensor: operator.name for operator in operators for tensor in operator.makes}
    owner.update((operator.name, operator.name) for operator in operators)
    groups: dict[str, tuple[list[str], float]] = {}
    unknown_s = 0.0
    for key, seconds in reported_s.items():
        members = list(dict.fromkeys(owner[part] for part in map(_stripped, key.split(",")) if part in owner))
        if not members:
            unknown_s += seconds
            continue
        known, before_s = groups.get(members[0], ([], 0.0))
        groups[members[0]] = (list(dict.fromkeys([*known, *members])), before_s + seconds)
    leftover = _adopt(operators, groups)
    if leftover:
        groups[leftover[0]] = (leftover, unknown_s)
    shared: dict[str, float] = {operator.name: 0.0 for operator in operators}
    for members, seconds in groups.values():
        for name, part in _parts(members, unfused_s).items():
            shared[name] += seconds * part
    if measured_s := sum(shared.values()):
        return {name: seconds * total_s / measured_s for name, seconds in shared.items()}
    return {name: total_s * part for name, part in _parts(list(shared), unfused_s).items()}


def _parts(names: Sequence[str], unfused_s: Mapping[str, float]) -> dict[str, float]:
    """Each one's part of their whole: as their unfused times, or equal where there are none."""
    whole = sum(unfused_s.get(name, 0.0) for name in names)
    return {name: unfused_s.get(name, 0.0) / whole if whole else 1 / len(names) for name in names}


def _adopt(operators: Sequence[Wiring], groups: dict[str, tuple[list[str], float]]) -> list[str]:
    """Add each operator that is in no group to a neighbour's; those without such a neighbour are returned."""
    by_name = {operator.name: operator for operator in operators}
    home = {member: first for first, (members, _) in groups.items() for member in members}
    left = [operator.name for operator in operators if operator.name not in home]
    while left:
        adopted = []
        for name in left:
            operator = by_name[name]
            sides = (operator.feeds_to, operator.feeds_from)
            first, second = sides if operator.op_type in _ANCHORS else sides[::-1]
            if near := next((other for other in (*first, *second) if other in home), None):
                adopted.append((name, home[near]))
        if not adopted:
            return left
        for name, first_member in adopted:
            groups[first_member][0].append(name)
            home[name] = first_member
        left = [name for name in left if name not in home]
    return []


def _stripped(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
