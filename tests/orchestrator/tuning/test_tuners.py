"""Tuners propose each setting once, begin with the default, and the learned one with what helped others."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nodes.backend import Option
from nodes.errors import CompileError, NodesError
from orchestrator.tuning.knobs import KNOBS, Setting, setting_of, settings, values_of
from orchestrator.tuning.trials import Trial, TrialBook
from orchestrator.tuning.tune import Tuned, tune
from orchestrator.tuning.tuners import LearnedTuner, OptunaTuner, Tuner

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


TUNERS: list[Callable[[], Tuner]] = [lambda: OptunaTuner(ORT), lambda: learned(CNN, []), lambda: learned(CNN, seen())]


@pytest.mark.parametrize("backend", KNOBS)
def test_settings_name_only_what_is_not_the_default(backend: str) -> None:
    assert settings(backend)[0] == ()
    assert len(set(settings(backend))) == len(settings(backend))
    assert all(setting_of(backend, values_of(backend, one)) == one for one in settings(backend))


@pytest.mark.parametrize("make", TUNERS)
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
    assert found.setting == BEST_OF_CNNS
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
