"""Measured steps of language models, as a small file of our own: exact where measured, straight in between."""

from pathlib import Path

import pytest

from simulations.errors import BadTrace, OutOfRange
from simulations.traces.power_model import Setting, read_power_model

HEADER = (
    "model,hardware,prompt_size,batch_size,token_size,peak_power,average_power,prompt_time,token_time,e2e_time,"
    "tensor_parallel\n"
)
PROMPT, TOKEN = (Setting("a100-80gb", "small-7b", 2, phase) for phase in ("prompt", "token"))
RUNS = (
    "100,1,0.5,0.25,20,10", "100,1,0.5,0.25,26,12", "100,1,0.5,0.25,22,11", "200,1,0.75,0.3,40,11",
    "100,2,1,0.5,44,15", "100,8,0,0,160,35",
)  # fmt: skip


def line(run: str, hardware: str = "a100-80gb", gpus: str = "2") -> str:
    prompt, batch, peak, average, prompt_ms, token_ms = run.split(",")
    return f"small-7b,{hardware},{prompt},{batch},128,{peak},{average},{prompt_ms},{token_ms},1500,{gpus}\n"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "perf.csv"
    path.write_text(HEADER + "".join(lines))
    return path


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    return written(tmp_path, *(line(run) for run in RUNS))


@pytest.mark.parametrize(
    ("setting", "size", "seconds", "watts"),
    [
        (PROMPT, 100, 0.022, 400.0),  # the median of three runs; half of two GPUs' 400 W
        (PROMPT, 200, 0.042, 700.0),  # two prompts of 100 tokens and one of 200
        (PROMPT, 150, 0.032, 550.0),
        (TOKEN, 1, 0.011, 200.0),
        (TOKEN, 2, 0.015, 400.0),
        (TOKEN, 1.5, 0.013, 300.0),
    ],
)
def test_steps_are_as_measured_and_straight_in_between(
    measured: Path, setting: Setting, size: float, seconds: float, watts: float
) -> None:
    assert read_power_model(measured).step(setting, size) == (pytest.approx(seconds), pytest.approx(watts))


@pytest.mark.parametrize("size", [2.5, 8])
def test_watts_that_nobody_measured_are_none(measured: Path, size: float) -> None:
    found = read_power_model(measured).step(TOKEN, size)
    assert found.watts is None and 0.015 < found.seconds <= 0.035


@pytest.mark.parametrize(
    ("setting", "size", "said"),
    [
        (TOKEN, 0.5, r"2 × a100-80gb \(token phase\): 0.5 sequences; measured from 1 to 8"),
        (TOKEN, 9, "9 sequences; measured from 1 to 8"),
        (PROMPT, 99, "99 tokens; measured from 100 to 800"),
        (PROMPT, float("nan"), "nan tokens"),
        (TOKEN._replace(model="big"), 1, r"big on 2 × a100-80gb .* was not measured; there are small-7b on 2"),
        (TOKEN._replace(tensor_parallel=4), 1, "4 × a100-80gb .* was not measured"),
    ],
)
def test_what_was_not_measured_is_refused(measured: Path, setting: Setting, size: float, said: str) -> None:
    with pytest.raises(OutOfRange, match=said):
        read_power_model(measured).step(setting, size)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("100,1,0.5,0.25,soon,10", "prompt_time is 'soon', not a number"),
        ("100,1,0.5,0.25,-3,10", "prompt_time is -3; from 0"),
        ("100,1,0.5,0.25,3,0", "token_time is 0; a step takes time"),
        ("100,0,0.5,0.25,3,10", "batch_size is 0; from 1"),
        ("100.5,1,0.5,0.25,3,10", "prompt_size is 100.5, not a whole number"),
        ("100,1,,0.25,3,10", "has no peak_power"),
        ("100,1,nan,0.25,3,10", "peak_power is nan"),
    ],
)
def test_what_cannot_be_read_is_named_by_line(tmp_path: Path, bad: str, said: str) -> None:
    path = written(tmp_path, line(RUNS[0]), line(bad))
    with pytest.raises(BadTrace, match=rf"perf.csv, line 3: {said}"):
        read_power_model(path)


def test_power_of_a_gpu_whose_design_power_is_not_known_is_refused_until_it_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, line(RUNS[0], hardware="b200"))
    with pytest.raises(BadTrace, match="line 2: peak_power of b200, whose design power is not known; name it in tdp_w"):
        read_power_model(path)
    named = read_power_model(path, {"b200": 1000.0})
    assert named.step(PROMPT._replace(hardware="b200"), 100).watts == pytest.approx(1000.0)


def test_more_gpus_are_another_setting(tmp_path: Path) -> None:
    read = read_power_model(written(tmp_path, line(RUNS[0]), line("100,1,0.5,0.25,12,6", gpus="4")))
    found = {setting.tensor_parallel: read.step(setting, 100) for setting in read.curves if setting.phase == "prompt"}
    assert found == {2: (pytest.approx(0.020), pytest.approx(400)), 4: (pytest.approx(0.012), pytest.approx(800))}


def test_a_file_that_is_none_or_tells_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="tells of no run"):
        read_power_model(written(tmp_path))
    with pytest.raises(BadTrace, match=r"nowhere.csv"):
        read_power_model(tmp_path / "nowhere.csv")
