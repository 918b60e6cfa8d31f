"""Which request killed the worker? A poisoned one told apart from a bad node, by who was there when workers died.

A worker that dies says nothing, so every request that one of its epochs had in flight is noted as present. The rule:

1. A death with several requests present is *shared*. After a first one all of them are sent again at once, side by
   side: most deaths are no request's doing, and nobody shall wait for a trial.
2. Who was present at two deaths, or alone at one, is a *suspect*. Suspects are tried one at a time: while there is
   one, a single request is in flight and all others wait, those least suspected first. So a request is present at
   two shared deaths at most, and an innocent is never again beside a poisoned one.
3. Who was alone at `max_losses` deaths is *guilty*: it is quarantined when it would be sent again.
4. A worker that answers again as the same process did not die: the link was cut. That loss counts for nothing. Once
   an epoch was loaded on the node anew the loss is settled.

So a poisoned request costs two workers where it travels alone, four at most, and an innocent one is never
quarantined unless workers die twice of themselves in the very moments when it is alone with them, which nobody can
tell from guilt. Routers do not know of each other's requests: two of them may each believe theirs was alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SHARED = 2  # shared deaths after which a request is tried alone


@dataclass(slots=True)
class Loss:
    """A worker lost while a request was with it; `withdrawn` once the same process answered again.

    `settled` once another epoch was loaded on its node: who answers there now is no proof that it lived.
    """

    node: str
    was_alone: bool
    withdrawn: bool = False
    settled: bool = False


def alone(losses: Sequence[Loss]) -> int:
    """At how many deaths the request was alone with the worker."""
    return sum(loss.was_alone for loss in losses if not loss.withdrawn)


def is_suspect(losses: Sequence[Loss]) -> bool:
    """Whether it must be tried alone before it may travel with others."""
    return alone(losses) > 0 or sum(not loss.withdrawn for loss in losses) >= SHARED


def is_guilty(losses: Sequence[Loss], max_losses: int) -> bool:
    """Whether it is to be quarantined."""
    return alone(losses) >= max_losses
