"""The measure-in-the-loop with engines played by fakes: what is timed, what is corrected, what is left out."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.errors import UnsupportedOperator
from orchestrator import profiling
from orchestrator.profiling import Bench, Segment, feeds_for, measure
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, segment_key
from tests.orchestrator.small_site import blueprint_of

ORT, OPENVINO = (EngineKey(node_class="here", backend=name) for name in ("onnxruntime", "openvino"))
BOTH = segment_key(("first", "second"))


class Engines:
    """Every segment takes 10 ms an operator here, whatever was guessed; `lacking` cannot run the model."""

    def __init__(self, *lacking: str) -> None:
        self.lacking, self.timed, self.said = lacking, list[Segment](), list[str]()

    async def time_segment(self, segment: Segment) -> float:
        self.timed.append(segment)
        return 0.01 * len(segment[1])

    def profile_model(self, _model: Path, keys: tuple[EngineKey, ...], **_: Any) -> Profile:
        for key in keys:
            if key.backend in self.lacking:
                raise UnsupportedOperator(f"{key.backend} does not support operator MatMul", backend=key.backend)
        engine = EngineProfile(operator_s={"first": 1e-3, "second": 1e-3})
        return Profile(model="", engines=dict.fromkeys(keys, engine))


def bench_of(folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(profiling, "profile_model", engines.profile_model)
    raw = {"raw": CodecFigure(encode_s_per_byte=0.0, decode_s_per_byte=0.0)}
    monkeypatch.setattr(profiling, "codec_figures", lambda *_: raw)
    blueprint = blueprint_of(folder)
    return Bench(
        spec=replace(blueprint.spec, codecs=("raw",)),
        model=blueprint.model,
        path=blueprint.spec.model,
        samples=({},),
        engines={"camera": (ORT, OPENVINO), "cloud": (ORT, OPENVINO)},
        local=("onnxruntime", "openvino"),
        time_segment=engines.time_segment,
        say=engines.said.append,
    )


def measured(bench: Bench) -> Profile:
    return asyncio.run(measure(bench, message_s=1e-4, message_s_per_byte=0.0))


def test_operators_sum_to_what_the_whole_takes_on_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(bench_of(tmp_path, Engines(), monkeypatch))
    assert found.engines[ORT].segment_s[BOTH] == 0.02
    assert sum(found.engines[ORT].operator_s.values()) == pytest.approx(0.02)
    assert found.message_s == 1e-4


def test_the_segments_of_the_best_plan_are_all_timed_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines()
    found = measured(bench_of(tmp_path, engines, monkeypatch))
    timed = [(segment[0], segment[1]) for segment in engines.timed]
    assert len(timed) == len(set(timed))
    plan = replace(blueprint_of(tmp_path), profile=found).find()
    assert not hasattr(plan, "constraint")
    assert all(stage.measured for stage in getattr(plan, "stages"))  # noqa: B009 (a Plan by the line above)


def test_an_engine_that_lacks_an_operator_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines("openvino")
    found = measured(bench_of(tmp_path, engines, monkeypatch))
    assert found.engines[OPENVINO].operator_s == {}
    assert found.engines[ORT].operator_s
    assert "openvino does not support operator MatMul; planning without it" in engines.said
    assert {segment[0].backend for segment in engines.timed} == {"onnxruntime"}


def test_an_operator_that_no_engine_has_is_named_with_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(tmp_path, Engines("openvino", "onnxruntime"), monkeypatch)
    with pytest.raises(UnsupportedOperator, match="operator MatMul, and no other backend of camera, cloud runs"):
        measured(bench)


def test_segments_are_fed_samples_or_noise_of_the_right_kind(tmp_path: Path) -> None:
    model = blueprint_of(tmp_path).model
    sample = np.ones((1, 4096), np.float32)
    feeds = feeds_for(model, ("x", "narrow"), {"x": sample})
    assert feeds["x"] is sample
    assert feeds["narrow"].shape == (1, 4)
    assert feeds["narrow"].dtype.name == "float32"
