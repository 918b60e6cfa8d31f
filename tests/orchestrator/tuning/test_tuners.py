"""Tuners propose each setting once, begin with the default, and the learned one with what helped others."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nodes.backend import Option
from nodes.errors import CompileError, NodesError
from orchestrator.errors import ClusterError
from orchestrator.tuning.knobs import KNOBS, Setting, features_of, setting_of, settings, to_try, values_of
from orchestrator.tuning.trials import Trial, TrialBook
from orchestrator.tuning.tune import Tuned, tune
from orchestrator.tuning.tuners import TUNERS, LearnedTuner, OptunaTuner, Tuner, check_tuner, tuner_of

ORT = "onnxruntime"
CNN, TRANSFORMER = {"Conv": 0.7, "Relu": 0.3}, {"MatMul": 0.6, "Add": 0.4}
BEST_OF_CNNS: Setting = (("spinning", True),)


def seconds_of(mix: Mapping[str, float], setting: Mapping[str, Option]) -> float:
    """CNNs gain a third by spinning, transformers lose as much; lower levels cost everyone."""
    level = {"all": 1.0, "extended": 1.1, "basic": 1.3}[str(setting.get("level", "all"))]
    gain = (0.65 if "Conv" in mix else 1.5) if setting.get("spinning") else 1.0
    return 0.01 * level * gain


def trial(model: str, mix: Mapping[str, float], setting: Setting, **changed: Any) -> Trial:
    facts: dict[str, Any] = {"node": "here", "backend": ORT, "threads": 1, "seconds": seconds_of(mix, dict(setting))}
    return Trial(model=model, setting=setting, mix=mix, **(facts | changed))


def seen() -> list[Trial]:
    """Full trials of two CNNs and two transformers."""
    models = {"a": CNN, "b": {"Conv": 0.5, "Relu": 0.5}, "c": TRANSFORMER, "d": {"MatMul": 0.5, "Add": 0.5}}
    return [trial(name, mix, setting) for name, mix in models.items() for setting in settings(ORT)]


def learned(mix: Mapping[str, float], trials: list[Trial]) -> LearnedTuner:
    return LearnedTuner(ORT, mix=mix, threads=1, seen=trials)


MAKERS: list[Callable[[], Tuner]] = [lambda: OptunaTuner(ORT), lambda: learned(CNN, []), lambda: learned(CNN, seen())]


@pytest.mark.parametrize("threads", [1, 6])
@pytest.mark.parametrize("backend", KNOBS)
def test_settings_name_only_what_is_not_the_default(backend: str, threads: int) -> None:
    found = settings(backend, threads)
    assert found[0] == () and len(set(found)) == len(found)
    assert all(setting_of(backend, values_of(backend, one, threads), threads) == one for one in found)


@pytest.mark.parametrize("backend", KNOBS)
def test_fewer_threads_than_the_nodes_are_tried_on_every_engine(backend: str) -> None:
    assert {dict(one).get("threads", 6) for one in settings(backend, 6)} == {6, 3, 1}
    assert not any("threads" in dict(one) for one in settings(backend, 1))


def test_nodes_of_different_threads_learn_from_each_other() -> None:
    halved = features_of("mnn", (("threads", 4),), 8)
    assert halved == features_of("mnn", (("threads", 1),), 2) != features_of("mnn", (("threads", 2),), 8)


@pytest.mark.parametrize("make", MAKERS)
def test_each_setting_is_proposed_once_the_default_first(make: Callable[[], Tuner]) -> None:
    tuner, asked = make(), []
    while (setting := tuner.ask()) is not None:
        asked.append(setting)
        tuner.tell(setting, None if dict(setting).get("io_binding") else seconds_of(CNN, dict(setting)) / 0.01)
    assert asked[0] == () and sorted(asked) == sorted(settings(ORT))


@pytest.mark.parametrize(("mix", "spins"), [({"Conv": 0.6, "Relu": 0.4}, True), ({"MatMul": 0.55, "Add": 0.45}, False)])
def test_what_helped_models_of_its_kind_is_tried_next(mix: Mapping[str, float], spins: bool) -> None:
    tuner = learned(mix, seen())
    tuner.ask()
    tuner.tell((), 1.0)
    second = tuner.ask()
    assert second is not None and dict(second).get("spinning", False) is spins
    assert dict(second).get("level", "all") == "all"


def test_a_model_that_contradicts_what_was_learned_is_believed() -> None:
    tuner = learned(CNN, seen())
    tuner.ask()
    for _ in range(3):
        setting = tuner.ask()
        assert setting is not None
        tuner.tell(setting, 2.0 if dict(setting).get("spinning") else 0.9)
    following = tuner.ask()
    assert following is not None and not dict(following).get("spinning")


@pytest.mark.parametrize("name", TUNERS)
def test_a_tuner_by_name_proposes_every_setting_of_a_node(name: str) -> None:
    tuner, asked = tuner_of(name, ORT, mix=CNN, threads=2, seen=seen()), []
    while (setting := tuner.ask()) is not None:
        asked.append(setting)
        tuner.tell(setting, 1.0 + len(dict(setting)) / 10)
    assert asked[0] == () and sorted(asked) == sorted(settings(ORT, 2))


def test_a_tuner_that_is_not_there_names_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"no tuner 'grid'; there are learned, optuna"):
        check_tuner("grid")
    monkeypatch.setitem(sys.modules, "optuna", None)
    check_tuner("learned")
    with pytest.raises(ClusterError, match=r'pip install "isthmus\[tune\]"'):
        check_tuner("optuna")


def tuned(tuner: Tuner, mix: Mapping[str, float], *, budget_s: float, each_s: float = 1.0) -> Tuned:
    """Tuning under a clock that every timing moves on by `each_s`."""
    clock = [0.0]

    async def time_setting(setting: Mapping[str, Option]) -> float:
        clock[0] += each_s
        if setting.get("io_binding"):
            raise CompileError("no such option")
        return seconds_of(mix, setting)

    return asyncio.run(tune(tuner, time_setting, budget_s=budget_s, now_s=lambda: clock[0]))


def test_the_fastest_setting_is_found_and_refused_ones_are_told() -> None:
    found = tuned(learned(CNN, []), CNN, budget_s=1e6)
    assert found.setting == BEST_OF_CNNS and not found.worked
    assert found.seconds == pytest.approx(0.0065) and found.default_s == pytest.approx(0.01)
    assert {seconds is None for setting, seconds in found.tried if dict(setting).get("io_binding")} == {True}


def test_a_budget_ends_it() -> None:
    assert len(tuned(OptunaTuner(ORT), CNN, budget_s=5, each_s=1).tried) == 5


def test_the_default_stays_where_nothing_is_clearly_faster() -> None:
    times = iter([0.0100, *[0.0098] * 40])

    async def time_setting(_: Mapping[str, Option]) -> float:
        return next(times)

    found = asyncio.run(tune(learned(CNN, []), time_setting, budget_s=1e6))
    assert found.setting == () and found.seconds == found.default_s


def test_a_lucky_timing_is_not_believed() -> None:
    calls: list[Mapping[str, Option]] = []

    async def time_setting(setting: Mapping[str, Option]) -> float:
        calls.append(setting)
        return 0.002 if len(calls) == 3 else 0.010

    assert asyncio.run(tune(learned(CNN, []), time_setting, budget_s=1e6)).setting == ()


class Recording:
    """A tvm node: what was tuned stays tuned, whatever is compiled afterwards; one thread is a tenth faster."""

    def __init__(self) -> None:
        self.given: list[Mapping[str, Option]] = []
        self.clock = 0.0

    async def time_setting(self, options: Mapping[str, Option]) -> float:
        self.given.append(options)
        self.clock += 10.0
        tuned = max(int(one.get("trials", 0)) for one in self.given)
        return {0: 1.0, 16: 0.2, 64: 0.1}[tuned] * (0.9 if options.get("threads") == 1 else 1.0)


def test_trials_stay_on_the_node_and_are_not_told_to_stages() -> None:
    node = Recording()
    tuner = LearnedTuner("tvm", mix=CNN, threads=2)
    found = asyncio.run(tune(tuner, node.time_setting, budget_s=1e6, backend="tvm", now_s=lambda: node.clock))
    assert (found.setting, found.worked) == ((("threads", 1),), (("trials", 64),))
    assert (found.seconds, found.default_s) == (pytest.approx(0.09), 1.0)
    assert all("budget_s" in one for one in node.given if "trials" in one)
    assert node.given[-1] == {"threads": 1} and node.given[-2] == {}


def test_what_lasts_is_tried_with_all_threads_and_not_taken_for_what_came_after() -> None:
    assert settings("tvm", 2) == ((), (("threads", 1),), (("trials", 16),), (("trials", 64),))
    for seed in range(4):  # whichever comes first
        node = Recording()
        tuner = LearnedTuner("tvm", mix=CNN, threads=2, seed=seed)
        found = asyncio.run(tune(tuner, node.time_setting, budget_s=1e6, backend="tvm", now_s=lambda: 0.0))
        assert found.setting == (("threads", 1),) and found.seconds == pytest.approx(0.09)
        assert dict(found.tried)[("threads", 1),] == pytest.approx(0.9)


def test_kernels_are_tuned_for_no_longer_than_what_is_left() -> None:
    assert to_try("tvm", (("trials", 64),), left_s=7.0) == {"trials": 64, "budget_s": 7.0}
    assert to_try("tvm", (("threads", 1),), left_s=7.0) == {"threads": 1}


def test_a_default_that_fails_is_an_error() -> None:
    async def time_setting(_: Mapping[str, Option]) -> float:
        raise CompileError("out of memory")

    with pytest.raises(NodesError, match="out of memory"):
        asyncio.run(tune(learned(CNN, []), time_setting, budget_s=1.0))


def test_trials_are_read_as_they_were_written_and_torn_lines_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book, trials = TrialBook(tmp_path / "book" / "trials.jsonl"), seen()[:3]
    refused = trial("a", CNN, BEST_OF_CNNS, seconds=None)
    for one in (*trials, refused):
        book.add(one)
    with (tmp_path / "book" / "trials.jsonl").open("a") as file:
        file.write('{"model": "torn\n{"seconds": -1}\n')
    assert book.trials() == (*trials, refused)
    assert "2 lines are no trials" in caplog.text
    assert TrialBook(tmp_path / "none").trials() == ()
