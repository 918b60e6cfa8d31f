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
        full, rest = divmod(requests, len(self.batch_s))
        return full * self.batch_s[-1] + (self.batch_s[rest - 1] if rest else 0.0)

    @property
    def completion_s(self) -> float:
        """Predicted seconds until one more request is answered.

        A way that owes an answer for longer than its work and link explain is as late again: it may hang.
        """
        overdue_s = self.silent_s - self.work_s(self.in_hand) - self.link_s if self.in_hand else 0.0
        return self.link_s + self.work_s(self.in_hand + 1) + max(0.0, overdue_s)


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
    ranks = [(way.completion_s, way.in_hand, way.name) for way in ways]
    best = min(ranks)
    is_loyal = loyalty and best[0] >= ranks[0][0] * (1 - loyalty)
    return ways[0] if is_loyal else ways[ranks.index(best)]


def least_completion(*, ways: Sequence[Way], loyalty: float = 0.0) -> Route:
    """`soonest_way` with its reason, for people. ValueError if there is no way."""
    best = soonest_way(ways=ways, loyalty=loyalty)
    others = [f"{way.name} {way.completion_s * 1e3:.3g} ms" for way in ways if way is not best]
    against = f" against {', '.join(others)}" if others else ""
    return Route(best.name, best.completion_s, f"{best.name} {best.completion_s * 1e3:.3g} ms{against}")
