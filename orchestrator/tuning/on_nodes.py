"""Tunes each engine of a topology where it runs, and keeps what was tried for models and nodes to come."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from nodes.backend import Option
from nodes.errors import NodesError
from orchestrator.cache_folder import cache_folder
from orchestrator.tuning.knobs import Setting, settings
from orchestrator.tuning.trials import Trial, TrialBook
from orchestrator.tuning.tune import Tuned, tune
from orchestrator.tuning.tuners import tuner_of
from partitioner.graph import Graph
from partitioner.profile import EngineKey

TimeWhole = Callable[[EngineKey, Mapping[str, Option]], Awaitable[float]]


async def tune_engines(
    graph: Graph,
    model: str,
    keys: Sequence[EngineKey],
    time_whole: TimeWhole,
    *,
    budget_s: float,
    say: Callable[[str], None],
    tuner: str = "learned",
    book: Path | None = None,
) -> dict[EngineKey, Setting]:
    """The setting of each engine that is clearly faster than its default, tuned in turn for equal shares of `budget_s`.

    An engine that cannot run the model is passed over, and said. `book` is where trials are kept, whichever of
    TUNERS asked for them.
    """
    trials = TrialBook(book or cache_folder() / "trials.jsonl")
    tunable = [key for key in keys if len(settings(key.backend, key.threads)) > 1]
    found = {}
    for key in tunable:
        say(f"tuning {key.backend} on {key.node_class}")
        asked = tuner_of(tuner, key.backend, mix=mix_of(graph), threads=key.threads, seen=trials.trials())

        async def time_setting(options: Mapping[str, Option], key: EngineKey = key) -> float:
            return await time_whole(key, options)

        try:
            done = await tune(asked, time_setting, budget_s=budget_s / len(tunable), backend=key.backend)
        except NodesError as error:
            say(f"{error}; not tuned")
            continue
        _keep(trials, done, graph, model, key)
        if told := ", ".join(f"{name}={value}" for name, value in (*done.worked, *done.setting)):
            say(f"{key.backend} on {key.node_class}: {told} takes {done.seconds / done.default_s:.0%} of the default")
        if done.setting:
            found[key] = done.setting
    return found


def mix_of(graph: Graph) -> dict[str, float]:
    """The share of each operator type among the graph's operators."""
    kinds = Counter(operator.op_type for operator in graph.operators)
    return {kind: count / len(graph.operators) for kind, count in kinds.items()}


def _keep(trials: TrialBook, done: Tuned, graph: Graph, model: str, key: EngineKey) -> None:
    for setting, seconds in done.tried:
        trials.add(
            Trial(
                model=model,
                node=key.node_class,
                backend=key.backend,
                threads=key.threads,
                setting=setting,
                seconds=seconds,
                mix=mix_of(graph),
            )
        )
