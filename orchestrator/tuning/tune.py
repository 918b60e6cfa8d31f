"""Tries settings on a node until the time is up, and says which was fastest. Shell: has a clock, asks a worker.

A setting wins only if it beats the default by more than noise: both are timed again, in turn, before it is believed.
What lasts on the node (records of kernels) is no part of the setting: it serves the default too.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import monotonic

from nodes.backend import Option
from nodes.errors import NodesError
from orchestrator.tuning.knobs import Setting, kept, lasting, to_try
from orchestrator.tuning.tuners import Tuner

WORTH = 0.03  # of the default's seconds: what a setting must save
CONFIRMED = 3  # times that the best one and the default are timed against each other

TimeSetting = Callable[[Mapping[str, Option]], Awaitable[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The setting found, what it takes and what the default takes, in seconds; and all that was tried.

    `worked` is what was done on the way and lasts; `default_s` is then the default's before that, and what was tried
    after it is told as what it would have taken before.
    """

    setting: Setting
    seconds: float
    default_s: float
    tried: tuple[tuple[Setting, float | None], ...]
    worked: Setting = ()


async def tune(
    tuner: Tuner,
    time_setting: TimeSetting,
    *,
    budget_s: float,
    backend: str = "",
    now_s: Callable[[], float] = monotonic,
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
    base_s = default_s  # what the default takes by now
    ratios: dict[Setting, float] = {(): 1.0}  # how many times that others do
    while now_s() < until_s and (setting := tuner.ask()) is not None:
        try:
            seconds = await time_setting(to_try(backend, setting, until_s - now_s()))
        except NodesError:
            tuner.tell(setting, None)
            tried.append((setting, None))
            continue
        if kept(backend, setting) == setting:
            ratio = ratios[setting] = seconds / base_s
        else:
            base_s, ratio = seconds, seconds / default_s
        tuner.tell(setting, ratio)
        tried.append((setting, ratio * default_s))
    best, worked = min(ratios, key=ratios.__getitem__), lasting(backend, [one for one, s in tried if s is not None])
    best_s = ratios[best] * base_s
    if best != () and ratios[best] < 1 - WORTH:
        pairs = [(await time_setting({}), await time_setting(dict(best))) for _ in range(CONFIRMED)]
        base_s, best_s = (median(times) for times in zip(*pairs, strict=True))
    if best_s >= (1 - WORTH) * base_s:
        best, best_s = (), base_s
    before_s = default_s if worked else base_s
    return Tuned(setting=best, seconds=best_s, default_s=before_s, tried=tuple(tried), worked=worked)
