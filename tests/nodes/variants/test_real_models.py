"""int8 forms of real models keep their answers."""

from pathlib import Path

import pytest
from kit.crops import TO_CALIBRATE, TO_JUDGE, crops
from kit.sentences import TO_CALIBRATE as SENTENCES
from kit.sentences import TO_JUDGE as OTHER_SENTENCES

from isthmus.zoo.minilm import tokens
from nodes.cache import Cache
from nodes.variants.registry import variant
from tests.contracts.backend_models import zoo_model


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_efficientnet_in_int8_keeps_every_certain_label(tmp_path: Path) -> None:
    model = zoo_model("efficientnet_lite0")
    calibration, held_out = crops(TO_CALIBRATE, 2, 0), crops(TO_JUDGE[:4], 5, 1)
    with variant(model, "int8", feeds=calibration, judged_on=held_out, cache=Cache(tmp_path)) as made:
        assert made.figures is not None
        errors = made.figures.errors
    assert errors.certain == 1.0
    assert errors.certain_rows >= 8
    assert errors.sqnr_db is not None
    assert errors.sqnr_db > 20
    assert made.nbytes < 0.3 * model.stat().st_size


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_minilm_in_int8_keeps_the_direction_of_sentences(tmp_path: Path) -> None:
    model = zoo_model("minilm")
    calibration, held_out = ([tokens(text) for text in texts] for texts in (SENTENCES[:4], OTHER_SENTENCES[:8]))
    with variant(model, "int8", feeds=calibration, judged_on=held_out, cache=Cache(tmp_path)) as made:
        assert made.figures is not None
        assert made.figures.errors.cosine > 0.99
    assert made.nbytes < 0.35 * model.stat().st_size


def test_no_photograph_both_calibrates_and_judges() -> None:
    assert not set(TO_CALIBRATE) & set(TO_JUDGE)
    assert not set(SENTENCES) & set(OTHER_SENTENCES)


def test_crops_are_the_same_for_the_same_seed() -> None:
    first, second = crops(TO_JUDGE[:1], 2, 7), crops(TO_JUDGE[:1], 2, 7)
    assert all((a["input"] == b["input"]).all() for a, b in zip(first, second, strict=True))
    assert first[0]["input"].shape == (1, 3, 224, 224)
    assert (first[0]["input"] != first[1]["input"]).any()
