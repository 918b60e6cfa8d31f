"""The measure-in-the-loop with engines played by fakes: what is timed, what is corrected, what is left out."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.errors import UnsupportedOperator
from nodes.joining.join import join
from nodes.model_parts import ModelParts
from nodes.normalise import normalise
from orchestrator import profiling
from orchestrator.profile_file import load_profile, save_profile
from orchestrator.profiling import (
    Bench,
    Insides,
    Segment,
    candidates,
    feeds_for,
    first_look,
    learn,
    measure,
    time_batch,
)
from partitioner.load import load
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, segment_key
from partitioner.search.mincut import best_per_chain
from tests.nodes.joining.test_looping import END, LIKED, loop, of, speaker
from tests.orchestrator.small_site import blueprint_of

ORT, OPENVINO = (EngineKey(node_class="here", backend=name) for name in ("onnxruntime", "openvino"))
BOTH = segment_key(("first", "second"))


class Engines:
    """Every segment takes 10 ms an operator here, whatever was guessed; `lacking` cannot run the model."""

    def __init__(self, *lacking: str) -> None:
        self.lacking, self.timed, self.said = lacking, list[Segment](), list[str]()
        self.cut_s = 0.0  # of a segment that is not the whole

    async def time_segment(self, segment: Segment) -> float:
        self.timed.append(segment)
        return 0.01 * len(segment[1]) + (self.cut_s if len(segment[1]) < 2 else 0.0)

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


def test_the_plan_for_another_objective_is_timed_before_those_for_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posed = blueprint_of(tmp_path).problem()
    *_, slow = best_per_chain(posed)
    monkeypatch.setattr(profiling, "answer", lambda *_, **__: slow)
    soonest = candidates(posed)
    assert slow not in soonest
    assert candidates(replace(posed, objective="throughput")) == (slow, *soonest)


def test_a_profile_read_from_its_file_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines()
    bench = bench_of(tmp_path, engines, monkeypatch)
    save_profile(learnt := asyncio.run(learn(bench, measured(bench))), tmp_path / "p.json")
    before = len(engines.timed)
    known = load_profile(tmp_path / "p.json")
    again = asyncio.run(measure(bench, message_s=1e-4, message_s_per_byte=0.0, known=known))
    assert asyncio.run(learn(bench, again)) == learnt
    assert len(engines.timed) == before


def test_a_plan_that_never_stands_is_said_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines()
    bench = bench_of(tmp_path, engines, monkeypatch)

    async def another(_bench: Bench, profile: Profile, _plans: Any, *, title: str) -> Profile:
        engines.said.append(title)
        return replace(profile, message_s=profile.message_s * 2)

    monkeypatch.setattr(profiling, "look_closer", another)
    found = measured(bench)
    assert engines.said[-2:] == [
        "round 5",
        "the best plan still changes after 5 rounds: stages of it that were not timed are predicted",
    ]
    assert found.message_s == 1e-4 * 2**5


def test_a_plan_that_stands_is_not_said_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines()
    measured(bench_of(tmp_path, engines, monkeypatch))
    assert not any("still changes" in said for said in engines.said)


def test_a_batch_is_timed_whole_on_every_engine_that_runs_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines("openvino")
    bench = bench_of(tmp_path, engines, monkeypatch)
    found = asyncio.run(time_batch(bench, measured(bench), 4))
    assert found.engines[ORT].batch_s == {4: 0.02} and found.engines[OPENVINO].batch_s == {}
    assert engines.timed[-1] == (ORT, ("first", "second"), ("x",), ("y",))


def test_learning_times_segments_on_every_engine_and_leaves_operators_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines()
    engines.cut_s = 0.005
    bench = bench_of(tmp_path, engines, monkeypatch)
    first = asyncio.run(first_look(bench, message_s=0.0, message_s_per_byte=0.0))
    found = asyncio.run(learn(bench, first))
    for key in (ORT, OPENVINO):
        assert set(found.engines[key].segments.values()) == {("first",), ("second",), ("first", "second")}
        assert found.engines[key].segment_s[segment_key(("second",))] == 0.015
        assert found.engines[key].operator_s == first.engines[key].operator_s
    assert engines.timed[-1] == (OPENVINO, ("second",), ("narrow",), ("y",))
    assert asyncio.run(learn(bench, first, most=1)) == first


def test_what_operators_took_at_first_is_kept_beside_what_segments_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines()
    bench = bench_of(tmp_path, engines, monkeypatch)
    first = asyncio.run(first_look(bench, message_s=0.0, message_s_per_byte=0.0)).engines[ORT]
    assert first.first_s == first.operator_s
    profile = Profile(model="", engines={ORT: first})
    corrected = profiling._corrected(profile, (ORT, ("first",), ("x",), ("narrow",)), 0.04).engines[ORT]
    assert corrected.operator_s["first"] == 0.04
    assert corrected.first_s == first.first_s


def test_where_data_decide_what_is_done_segments_are_fed_what_the_samples_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loop.onnx"
    normalise(join(of(loop(speaker(tmp_path))))).save(path)
    model = load(path)
    assert "Loop" in {operator.op_type for operator in model.graph.operators}
    insides, samples, loads = Insides(), {"liked": LIKED}, []
    monkeypatch.setattr(profiling, "ModelParts", lambda *given: loads.append(given) or ModelParts(*given))
    feeds = insides.feeds(model, path, (*model.graph.inputs, *model.graph.outputs), samples)
    assert insides.feeds(model, path, model.graph.outputs, samples)["said"] is feeds["said"]
    assert len(loads) == 1  # the model is taken apart once
    insides.close()
    assert feeds["liked"] is LIKED
    assert feeds["said"].tolist() == [[1, 3, 4, 2, END]]  # as it says in earnest: noise would have it say another thing


def test_segments_are_fed_samples_or_noise_of_the_right_kind(tmp_path: Path) -> None:
    model = blueprint_of(tmp_path).model
    sample = np.ones((1, 4096), np.float32)
    feeds = feeds_for(model, ("x", "narrow"), {"x": sample})
    assert feeds["x"] is sample
    assert feeds["narrow"].shape == (1, 4)
    assert feeds["narrow"].dtype.name == "float32"
