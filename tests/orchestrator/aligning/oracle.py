"""What alignment comes to if all items are seen at once: nothing is remembered, and nothing waits."""

from dataclasses import dataclass
from math import ceil

from orchestrator.aligning.core import WINDOW
from orchestrator.aligning.terms import AlignTerms


@dataclass(frozen=True)
class Came:
    """An item in the order of arrival: number, modality, capture time and arrival."""

    number: int
    modality: str
    captured_s: float
    arrived_s: float = 0.0


@dataclass(frozen=True)
class Asked:
    asker: str
    at_s: float
    items: tuple[tuple[str, int], ...]
    missing: tuple[str, ...]
    filled: tuple[str, ...]


def asked(terms: AlignTerms, came: list[Came]) -> list[Asked]:
    """By asker, in the order of capture."""
    anchors: list[tuple[str, float, Came | None]] = [
        (name, one.captured_s, one) for name in terms.by for one in _ordered(came) if one.modality == name
    ]
    if not terms.by:
        anchors += [(WINDOW, at_s, None) for at_s in _windows(terms, came)]
    found = (_of(terms, came, *anchor) for anchor in anchors)
    return [one for one in found if one is not None]


def _ordered(came: list[Came]) -> list[Came]:
    return sorted(came, key=lambda one: (one.captured_s, one.number))


def _windows(terms: AlignTerms, came: list[Came]) -> list[float]:
    last = max((ceil((one.captured_s + terms.window_s) / terms.every_s) for one in came), default=0)
    ends = [number * terms.every_s for number in range(last + 1)]
    return [end for end in ends if any(one.captured_s <= end < one.captured_s + terms.window_s for one in came)]


def _of(terms: AlignTerms, came: list[Came], asker: str, at_s: float, own: Came | None) -> Asked | None:
    items, missing, filled = {asker: own.number} if own else {}, [], []
    for name, modality in terms.modalities.items():
        if name == asker:
            continue
        mine = [one for one in _ordered(came) if one.modality == name]
        if own is None:
            near = [one for one in mine if one.captured_s <= at_s < one.captured_s + terms.window_s]
        else:
            near = [one for one in mine if at_s - modality.tolerance_s <= one.captured_s <= at_s + modality.tolerance_s]
        before = [one for one in mine if one.captured_s <= at_s]
        if near:
            items[name] = min(near, key=lambda one: abs(one.captured_s - at_s)).number
        elif modality.missing == "last" and before:
            newest = max(one.captured_s for one in before)
            items[name] = max(one.number for one in before if one.captured_s == newest)
            filled.append(name)
        elif modality.missing == "without":
            missing.append(name)
        else:
            return None
    return Asked(asker, at_s, tuple(sorted(items.items())), tuple(missing), tuple(filled))
