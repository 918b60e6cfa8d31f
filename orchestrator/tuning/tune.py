"""Tries settings on a node until the time is up, and says which was fastest. Shell: has a clock, asks a worker.

A setting wins only if it beats the default by more than noise: both are timed again, in turn, before it is believed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import monotonic

from nodes.backend import Option
from nodes.errors import NodesError
from orchestrator.tuning.knobs import Setting
from orchestrator.tuning.tuners import Tuner

WORTH = 0.03  # of the default's seconds: what a setting must save
CONFIRMED = 3  # times that the best one and the default are timed against each other

TimeSetting = Callable[[Mapping[str, Option]], Awaitable[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The setting found, what it takes and what the default takes, in seconds; and all that was tried."""

    setting: Setting
    seconds: float
    default_s: float
    tried: tuple[tuple[Setting, float | None], ...]


async def tune(
    tuner: Tuner, time_setting: TimeSetting, *, budget_s: float, now_s: Callable[[], float] = monotonic
) -> Tuned:
    """The fastest setting that `tuner` came upon within `budget_s`; the default where none is clearly faster.

    `time_setting` gives the model's seconds under a setting; its NodesError means that the engine refuses it. What it
    raises for the default is raised here.
    """
    until_s = now_s() + budget_s
    default = tuner.ask()
    assert default == (), "a tuner begins with the default"
    default_s = await time_setting({})
    tuner.tell((), 1.0)
    tried: list[tuple[Setting, float | None]] = [((), default_s)]
    while now_s() < until_s and (setting := tuner.ask()) is not None:
        try:
            seconds: float | None = await time_setting(dict(setting))
        except NodesError:
            seconds = None
        tuner.tell(setting, None if seconds is None else seconds / default_s)
        tried.append((setting, seconds))
    best, best_s = min(((one, s) for one, s in tried if s is not None), key=lambda pair: pair[1])
    if best != () and best_s < (1 - WORTH) * default_s:
        pairs = [(await time_setting({}), await time_setting(dict(best))) for _ in range(CONFIRMED)]
        default_s, best_s = (median(times) for times in zip(*pairs, strict=True))
    if best_s >= (1 - WORTH) * default_s:
        best, best_s = (), default_s
    return Tuned(setting=best, seconds=best_s, default_s=default_s, tried=tuple(tried))
