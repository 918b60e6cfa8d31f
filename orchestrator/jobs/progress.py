"""A job's rate and what is left of it. Pure."""

from dataclasses import dataclass

WINDOW_S = 30.0  # over which the rate is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Items a second of late, and seconds until the last one; None where nobody knows."""

    rate_per_s: float | None
    eta_s: float | None


def progress(*, total: int, done: int, lately: int, since_s: float, now_s: float) -> Progress:
    """`lately` items ended within WINDOW_S of now; the driver that works now began at `since_s`."""
    window_s = min(WINDOW_S, now_s - since_s)
    if lately == 0 or window_s <= 0:
        return Progress(rate_per_s=None, eta_s=0.0 if done >= total else None)
    rate_per_s = lately / window_s
    return Progress(rate_per_s=rate_per_s, eta_s=(total - done) / rate_per_s)
