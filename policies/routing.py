"""Which of several ways a request should go: replicas of a stage or of a pipeline, or a pipeline and its fallback.

The way of least predicted completion time, from what each has in hand, its times by batch, its link, and how long it
has been silent. It keeps no state and sends nothing; whether a way may be used at all is the caller's knowledge.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to an answer.

    `in_hand` requests were sent that way and not answered. `batch_s[n-1]` is what n requests served together take; as
    many as it is long go together at most. `link_s` passes on the way there and back, waiting on links included.
    `silent_s` is how long nothing came back while something was in hand.
    """

    name: str
    in_hand: int
    batch_s: tuple[float, ...]
    link_s: float = 0.0
    silent_s: float = 0.0

    def work_s(self, requests: int) -> float:
        """What serving so many takes, in batches as full as they come."""
        if len(self.batch_s) == 1:
            return requests * self.batch_s[0]
        full, rest = divmod(requests, len(self.batch_s))
        return full * self.batch_s[-1] + (self.batch_s[rest - 1] if rest else 0.0)

    @property
    def completion_s(self) -> float:
        """Predicted seconds until one more request is answered.

        A way that owes an answer for longer than its work and link explain is as late again: it may hang.
        """
        return self.completion_with_s(self.in_hand)

    def completion_with_s(self, in_hand: int) -> float:
        """The same with another number in hand."""
        overdue_s = self.silent_s - self.work_s(in_hand) - self.link_s if in_hand and self.silent_s else 0.0
        return self.link_s + self.work_s(in_hand + 1) + max(0.0, overdue_s)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to go, when the answer is expected there, and why."""

    to: str
    completion_s: float
    reason: str


def soonest_way(*, ways: Sequence[Way], loyalty: float = 0.0) -> Way:
    """The way of least predicted completion; ties go to the one with less in hand, then the first by name.

    `loyalty` lets another way than the first one given win only if it is sooner by that part of the first's time.
    ValueError if there is no way.
    """
    if not ways:
        raise ValueError("a request needs at least one way to go")
    return ways[soonest_of(ways, [way.in_hand for way in ways], loyalty)]


def soonest_of(ways: Sequence[Way], in_hand: Sequence[int], loyalty: float) -> int:
    """The place of `soonest_way` if so many are in hand on each, whatever the ways say."""
    ranks = [(way.completion_with_s(many), many, way.name) for way, many in zip(ways, in_hand, strict=True)]
    best = min(ranks)
    is_loyal = loyalty and best[0] >= ranks[0][0] * (1 - loyalty)
    return 0 if is_loyal else ranks.index(best)


def least_completion(*, ways: Sequence[Way], loyalty: float = 0.0) -> Route:
    """`soonest_way` with its reason, for people. ValueError if there is no way."""
    best = soonest_way(ways=ways, loyalty=loyalty)
    others = [f"{way.name} {way.completion_s * 1e3:.3g} ms" for way in ways if way is not best]
    against = f" against {', '.join(others)}" if others else ""
    return Route(best.name, best.completion_s, f"{best.name} {best.completion_s * 1e3:.3g} ms{against}")
