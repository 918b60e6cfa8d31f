"""How many replicas a stage should have, from how busy they are and what waits. It starts and stops none.

Wanted = ceil(offered load / target + replicas that drain the queue within `drain_s`): the formula of Kubernetes'
Horizontal Pod Autoscaler (replicas · utilisation / target, no change within a tolerance, and downward the most wanted
within a window), with the load that was offered in place of a utilisation that stops at 1, and the queue beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

TOLERANCE = 0.1  # of the target: within it a count stays
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Scale:
    """Have `to` replicas. `wanted` is what the load alone asks for; keep it for `recent_wanted`."""

    to: int
    wanted: int
    reason: str


def autoscale(
    *,
    replicas: int,
    utilisation: float,
    arrivals_per_s: float,
    service_s: float,
    queued: int,
    recent_wanted: Sequence[int],
    scaled_s_ago: float,
    least: int = 1,
    most: int = 16,
    target: float = 0.7,
    drain_s: float = 5.0,
    up_after_s: float = 2.0,
    down_after_s: float = 30.0,
) -> Scale:
    """The count to have now: up at once, as far as wanted; down one at a time, and never below what was just wanted.

    `utilisation` is the replicas' mean busy share, `service_s` what a request takes of one (a batch's seconds over its
    size), `queued` what waits beyond those being served, `recent_wanted` the counts wanted in the last `down_after_s`.
    `up_after_s` and `down_after_s` must have passed since the last change, so that it has shown its effect.
    """
    load = max(utilisation * replicas, arrivals_per_s * service_s)
    steady = load / target
    if abs(steady / replicas - 1) <= TOLERANCE:
        steady = float(replicas)
    wanted = ceil(steady + queued * service_s / drain_s - ROUNDING)
    wanted = min(max(wanted, least), most)
    told = f"load {load:.2g} at {target:.0%} and {queued} queued want {wanted}"
    if replicas < least or replicas > most:
        return Scale(min(max(replicas, least), most), wanted, f"the bounds are {least} to {most}")
    if wanted > replicas and scaled_s_ago >= up_after_s:
        return Scale(wanted, wanted, told)
    if wanted > replicas:
        return Scale(replicas, wanted, f"{told}, but it changed {scaled_s_ago:.3g} s ago")
    if max((wanted, *recent_wanted)) < replicas and scaled_s_ago >= down_after_s:
        return Scale(replicas - 1, wanted, told)
    if wanted < replicas:
        return Scale(replicas, wanted, f"{told}; down only after {down_after_s:g} s of less")
    return Scale(replicas, wanted, told)
