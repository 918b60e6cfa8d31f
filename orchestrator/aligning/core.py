"""Which items make one request, decided as they come: no clock, IO or lots; times come in as arguments.

An *anchor* asks for one request: an item of a modality in `by`, or a window. It waits until it is settled, by
watermarks, which item of each other modality is nearest to it, or until it has waited long enough. Anchors of one
modality are asked in the order of their capture; of those ready, the one of first priority goes first, `under_way` at
once. The oracle in tests/orchestrator/aligning says the same of items all seen at once.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf

from orchestrator.aligning.held import SET_BACK, Held, HeldItem
from orchestrator.aligning.ledger import Fate, Ledger
from orchestrator.aligning.skew import Sample
from orchestrator.aligning.terms import AlignTerms
from orchestrator.aligning.thinning import Thinning

WINDOW = ""  # in place of the modality that asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask this request now. `items`: modality → the item's number; `missing` lacks one, `ages_s` of those filled with
    their last: by how much that was captured before `at_s`. `asker`: the modality whose item it is; WINDOW for none.
    """

    request: int
    asker: str
    at_s: float
    items: Mapping[str, int]
    missing: tuple[str, ...] = ()
    ages_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """No further request will be asked with this item."""

    number: int


Action = Ask | Forget


@dataclass(slots=True, eq=False)
class _Anchor:
    at_s: float
    asker: str
    arrived_s: float
    item: HeldItem | None
    partners: dict[str, HeldItem] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ages_s: dict[str, float] = field(default_factory=dict)


class Alignment:
    """All that is held and counted. Every method gives what is to be done; `due_s` is when `tick` is due next."""

    def __init__(self, terms: AlignTerms) -> None:
        self.terms = terms
        self.ledger = Ledger()
        self.held = {name: Held(one) for name, one in terms.modalities.items()}
        self.thinning = Thinning({name: terms.modalities[name] for name in terms.by})
        self._askers = terms.by or (WINDOW,)
        self._anchors: dict[str, list[_Anchor]] = {name: [] for name in self._askers}
        self._passed_s = dict.fromkeys(self._askers, -inf)  # capture time of the last anchor that left
        self._ready: list[_Anchor] = []
        self._under_way: set[int] = set()
        self._requests = 0
        self._now_s = -inf
        self._is_ending = False
        self._actions: list[Action] = []
        for name in terms.modalities:
            self.ledger.of(name)

    def put(self, modality: str, number: int, captured_s: float, now_s: float) -> list[Action]:
        """An item came; numbers grow. KeyError for a modality that there is not."""
        held = self.held[modality]
        self.ledger.of(modality).came += 1
        item = HeldItem(number, modality, held.skew.corrected(captured_s), now_s)
        self._see(held, item)
        item.places = 1  # this one's
        self._serve(held, item)
        self._anchor(item)
        self._leave(item)
        return self._go_on(now_s)

    def clock(self, modality: str, exchange: Sample) -> None:
        """An exchange of timestamps with a sensor."""
        self.held[modality].skew.heard(exchange)

    def ended(self, request: int, now_s: float) -> list[Action]:
        """A request that was asked has come to its end, whichever."""
        self._under_way.discard(request)
        self.thinning.answered(now_s, still_busy=bool(self._under_way or self._ready))
        return self._go_on(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Time went on."""
        return self._go_on(now_s)

    def end(self, now_s: float) -> list[Action]:
        """No item will come any more: all that waits is decided with what there is."""
        self._is_ending = True
        for held in self.held.values():
            held.newest_s = inf
        done = self._go_on(now_s)
        for held in self.held.values():
            if held.last is not None:
                self._leave(held.last)
                held.last = None
        return [*done, *self._taken()]

    @property
    def due_s(self) -> float | None:
        """When a wait or a deadline ends next; None if nothing waits."""
        heads = [anchors[0] for anchors in self._anchors.values() if anchors]
        times = [time_s for head in heads for time_s in self._times(head)]
        times += [self._deadline_s(anchor) for anchor in self._ready]
        found = min((time_s for time_s in times if time_s > self._now_s), default=inf)
        return None if found == inf else found

    @property
    def waiting(self) -> dict[str, int]:
        """Items of each modality that have not come to their end."""
        return {name: counts.came - counts.ended for name, counts in self.ledger.items.items()}

    def _see(self, held: Held, item: HeldItem) -> None:
        """What its capture time tells of those to come; a clock that was set back is believed after a while."""
        held.late_in_a_row = held.late_in_a_row + 1 if item.captured_s < held.watermark_s else 0
        if held.late_in_a_row >= SET_BACK:
            held.newest_s, held.late_in_a_row = item.captured_s, 0
            if item.modality in self._passed_s:
                self._passed_s[item.modality] = -inf
            if WINDOW in self._passed_s:
                self._passed_s[WINDOW] = -inf
        held.newest_s = max(held.newest_s, item.captured_s)

    def _serve(self, held: Held, item: HeldItem) -> None:
        """Keep it for those that may ask with it."""
        if not any(asker != item.modality for asker in self._askers):
            return
        if item.captured_s < self._floor_s(item.modality) - self._before_s(item.modality):
            item.fate = "late"
            if held.terms.missing == "last":
                item.places += 1
                self._replace_last(held, item)
            return
        held.add(item)
        item.places += 1
        if len(held.items) > held.terms.most:
            self._let_go(held, held.items[0], "overflowed")

    def _anchor(self, item: HeldItem) -> None:
        """Have it ask, or open the windows that it lies in."""
        if WINDOW in self._anchors:
            self._open_windows(item)
            return
        if item.modality not in self._anchors:
            return
        if item.captured_s < self._passed_s[item.modality]:
            item.fate = "late"
        elif not self.thinning.keeps(item.modality):
            item.fate = "thinned"
        else:
            item.places += 1
            anchors = self._anchors[item.modality]
            insort(anchors, _Anchor(item.captured_s, item.modality, item.arrived_s, item), key=_order)
            if len(anchors) > self.held[item.modality].terms.most:
                self._give_up(anchors.pop(0), "overflowed")

    def _open_windows(self, item: HeldItem) -> None:
        every_s, anchors = self.terms.every_s, self._anchors[WINDOW]
        number = ceil(item.captured_s / every_s)
        number += number * every_s < item.captured_s  # rounding
        open_for = 0
        while number * every_s < item.captured_s + self.terms.window_s:
            at_s = number * every_s
            number += 1
            if at_s <= self._passed_s[WINDOW]:
                continue
            open_for += 1
            if all(anchor.at_s != at_s for anchor in anchors):
                insort(anchors, _Anchor(at_s, WINDOW, item.arrived_s + at_s - item.captured_s, None), key=_order)
        if not open_for:
            item.fate = "late"

    def _go_on(self, now_s: float) -> list[Action]:
        self._now_s = now_s
        for asker, anchors in self._anchors.items():
            while anchors and self._is_decided(anchors[0], now_s):
                anchor = anchors.pop(0)
                self._passed_s[asker] = max(self._passed_s[asker], anchor.at_s)
                lacking = [name for name in anchor.missing if self.terms.modalities[name].missing != "without"]
                if lacking:
                    self._give_up(anchor, "unmatched")
                else:
                    self._make_ready(anchor)
        self._send(now_s)
        self._prune()
        waiting: dict[str, int] = {}
        for anchor in self._ready:
            waiting[anchor.asker] = waiting.get(anchor.asker, 0) + 1
        self.thinning.look(waiting, len(self._under_way), now_s)
        return self._taken()

    def _taken(self) -> list[Action]:
        done, self._actions = self._actions, []
        return done

    def _is_decided(self, anchor: _Anchor, now_s: float) -> bool:
        """Whether nothing is to be awaited for it any more; then it has its partners."""
        if anchor.item is not None:
            own = self.held[anchor.asker]
            waits = now_s < anchor.arrived_s + own.terms.lateness_s and not self._is_ending
            if waits and own.watermark_s < anchor.at_s:
                return False
        found: dict[str, HeldItem | None] = {}
        for name, held in self.held.items():
            if name == anchor.asker:
                continue
            after_s = 0.0 if anchor.item is None else held.terms.tolerance_s
            best = held.nearest(anchor.at_s, self._before_s(name), after_s, is_window=anchor.item is None)
            waits = now_s < anchor.arrived_s + held.terms.wait_s and not self._is_ending
            settled = held.is_settled(best, anchor.at_s, after_s)
            if waits and not (settled and (best is not None or held.terms.missing != "wait")):
                return False
            found[name] = best
        for name, best in found.items():
            self._match(anchor, name, best)
        return True

    def _match(self, anchor: _Anchor, name: str, best: HeldItem | None) -> None:
        held = self.held[name]
        if best is None and held.terms.missing == "last":
            best = held.latest(anchor.at_s)
            if best is not None:
                anchor.ages_s[name] = anchor.at_s - best.captured_s
        if best is None:
            anchor.missing.append(name)
        else:
            anchor.partners[name] = best

    def _make_ready(self, anchor: _Anchor) -> None:
        for item in anchor.partners.values():
            item.places += 1
        insort(self._ready, anchor, key=self._rank)
        own = [one for one in self._ready if one.asker == anchor.asker]
        terms = self.terms.modalities
        if len(own) > (terms[anchor.asker].most if anchor.asker in terms else max(one.most for one in terms.values())):
            self._ready.remove(own[0])
            self._end_anchor(own[0], "overflowed")

    def _send(self, now_s: float) -> None:
        for anchor in [one for one in self._ready if self._deadline_s(one) <= now_s]:
            self._ready.remove(anchor)
            self._end_anchor(anchor, "expired")
        while self._ready and len(self._under_way) < self.terms.under_way:
            anchor = self._ready.pop(0)
            self._requests += 1
            self._under_way.add(self._requests)
            items = {name: item.number for name, item in anchor.partners.items()}
            if anchor.item is not None:
                items[anchor.asker] = anchor.item.number
            self.ledger.asked += 1
            for told, names in ((self.ledger.without, anchor.missing), (self.ledger.filled, anchor.ages_s)):
                for name in names:
                    told[name] = told.get(name, 0) + 1
            self._actions.append(
                Ask(
                    request=self._requests,
                    asker=anchor.asker,
                    at_s=anchor.at_s,
                    items=items,
                    missing=tuple(anchor.missing),
                    ages_s=anchor.ages_s,
                )
            )
            self._end_anchor(anchor, "used")

    def _end_anchor(self, anchor: _Anchor, fate: Fate) -> None:
        """It asks, or will not: its items are free of it."""
        for item in anchor.partners.values():
            item.fate = "used" if fate == "used" or item.fate == "used" else item.fate
            self._leave(item)
        self._give_up(anchor, fate)

    def _give_up(self, anchor: _Anchor, fate: Fate) -> None:
        if anchor.item is not None:
            anchor.item.fate = "used" if anchor.item.fate == "used" else fate
            self._leave(anchor.item)

    def _leave(self, item: HeldItem) -> None:
        """One place less holds it; the last one counts it."""
        item.places -= 1
        if not item.places:
            self.ledger.ended(item.modality, item.fate)
            self._actions.append(Forget(number=item.number))

    def _let_go(self, held: Held, item: HeldItem, fate: Fate | None = None) -> None:
        """It serves nobody to come, but perhaps as the last that there was."""
        held.items.remove(item)
        if fate is not None and item.fate == "unmatched":
            item.fate = fate
        if held.terms.missing == "last":
            self._replace_last(held, item)
        else:
            self._leave(item)

    def _replace_last(self, held: Held, item: HeldItem) -> None:
        """Of the last that was there and this one the newer stays, the other leaves."""
        if held.last is None:
            held.last = item
            return
        older, held.last = sorted((held.last, item), key=lambda one: one.captured_s)
        self._leave(older)

    def _prune(self) -> None:
        for name, held in self.held.items():
            least_s = self._floor_s(name) - self._before_s(name)
            while held.items and held.items[0].captured_s < least_s:
                self._let_go(held, held.items[0])

    def _floor_s(self, modality: str) -> float:
        """No anchor that is still to find its partners will have been captured before this."""
        floors = []
        for asker, anchors in self._anchors.items():
            if asker == modality:
                continue
            if asker == WINDOW:
                to_come_s = max(self._passed_s[WINDOW], min(held.watermark_s for held in self.held.values()))
            else:
                to_come_s = max(self._passed_s[asker], self.held[asker].watermark_s)
            floors.append(min(anchors[0].at_s, to_come_s) if anchors else to_come_s)
        return min(floors, default=inf)

    def _before_s(self, modality: str) -> float:
        return self.terms.window_s if WINDOW in self._anchors else self.terms.modalities[modality].tolerance_s

    def _times(self, anchor: _Anchor) -> list[float]:
        """When waits of an anchor end."""
        own = self.terms.modalities.get(anchor.asker)
        waits = [one.wait_s for name, one in self.terms.modalities.items() if name != anchor.asker]
        return [anchor.arrived_s + wait for wait in (*waits, *([own.lateness_s] if own else ()))]

    def _deadline_s(self, anchor: _Anchor) -> float:
        own = self.terms.modalities.get(anchor.asker)
        return inf if own is None or own.deadline_s is None else anchor.arrived_s + own.deadline_s

    def _rank(self, anchor: _Anchor) -> tuple[int, float, int]:
        own = self.terms.modalities.get(anchor.asker)
        return (own.priority if own else 0, anchor.at_s, anchor.item.number if anchor.item else 0)


def _order(anchor: _Anchor) -> tuple[float, int]:
    return anchor.at_s, anchor.item.number if anchor.item else 0
