"""Items that a modality holds, in the order of their capture, and what is known of those to come."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from math import inf

from orchestrator.aligning.ledger import Fate
from orchestrator.aligning.skew import Skew
from orchestrator.aligning.terms import Modality

SET_BACK = 16  # items in a row that come too late before their clock counts as set back


@dataclass(slots=True, eq=False)
class HeldItem:
    """One item. `places` are those that hold it: as one that asks, as one that is asked with."""

    number: int
    modality: str
    captured_s: float  # corrected
    arrived_s: float
    places: int = 0
    fate: Fate = "unmatched"


@dataclass(slots=True)
class Held:
    """One modality's. `newest_s` is the newest capture time seen; `items` may serve requests that are asked."""

    terms: Modality
    skew: Skew = field(default_factory=Skew)
    items: list[HeldItem] = field(default_factory=list)
    last: HeldItem | None = None  # the newest that was let go of, for whoever is to be filled with it
    newest_s: float = -inf
    late_in_a_row: int = 0

    @property
    def watermark_s(self) -> float:
        """No item in time will have been captured before this."""
        return self.newest_s - self.terms.lateness_s

    def add(self, item: HeldItem) -> None:
        """Keep it in its place."""
        insort(self.items, item, key=_order)

    def nearest(self, at_s: float, before_s: float, after_s: float, *, is_window: bool = False) -> HeldItem | None:
        """The item captured within [at − before, at + after] that is nearest to `at`; of two the older. A window does
        not hold its own beginning.
        """
        start = bisect_left(self.items, (at_s - before_s, -1), key=_order)
        best: HeldItem | None = None
        for item in self.items[start:]:
            if item.captured_s > at_s + after_s:
                break
            if is_window and item.captured_s + before_s <= at_s:
                continue
            if best is None or abs(item.captured_s - at_s) < abs(best.captured_s - at_s):
                best = item
        return best

    def latest(self, until_s: float) -> HeldItem | None:
        """The newest item captured by then."""
        end = bisect_left(self.items, (until_s, 1 << 62), key=_order)
        found = self.items[end - 1] if end else self.last
        return None if found is None or found.captured_s > until_s else found

    def is_settled(self, best: HeldItem | None, at_s: float, after_s: float) -> bool:
        """Whether none that comes in time will be nearer to `at` than the best there is."""
        distance_s = inf if best is None else abs(best.captured_s - at_s)
        if distance_s <= after_s:
            return self.watermark_s >= at_s + distance_s
        return self.watermark_s > at_s + after_s


def _order(item: HeldItem) -> tuple[float, int]:
    return item.captured_s, item.number
