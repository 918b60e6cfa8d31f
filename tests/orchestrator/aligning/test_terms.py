"""What YAML says of alignment."""

from typing import Any

import pytest

from orchestrator.aligning.terms import AlignModel, AlignTerms, Modality
from orchestrator.errors import SpecError
from orchestrator.yaml_file import check

BOTH: dict[str, Any] = {"photo": {"deadline_ms": 500}, "sound": {"tolerance_ms": 200, "missing": "last"}}


def test_times_are_seconds() -> None:
    terms = check(AlignModel, {"by": ["photo"], "modalities": BOTH, "under_way": 3}, where="x").terms()
    assert terms == AlignTerms(
        modalities={"photo": Modality(deadline_s=0.5), "sound": Modality(tolerance_s=0.2, missing="last")},
        by=("photo",),
        under_way=3,
    )


def test_a_window_is_as_long_as_its_step_unless_told() -> None:
    assert check(AlignModel, {"every_ms": 500, "modalities": BOTH}, where="x").terms().window_s == 0.5
    both = {"every_ms": 500, "window_ms": 800, "modalities": BOTH}
    assert check(AlignModel, both, where="x").terms().window_s == 0.8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"modalities": BOTH}, "either by .* or every_ms"),
        ({"modalities": BOTH, "by": ["photo"], "every_ms": 5}, "either by .* or every_ms"),
        ({"modalities": BOTH, "by": ["smell"]}, "'smell' is none of the modalities, which are photo, sound"),
        ({"modalities": BOTH, "by": ["photo"], "window_ms": 5}, "goes with every_ms"),
        ({"modalities": BOTH, "every_ms": 50, "window_ms": 5}, "leaves gaps"),
        ({"modalities": {"photo": {"tolerence_ms": 3}}, "by": ["photo"]}, "did you mean 'tolerance_ms'"),
        ({"modalities": {"photo": {"missing": "skip"}}, "by": ["photo"]}, "modalities.photo.missing"),
        ({"modalities": {}, "by": ["photo"]}, "modalities"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check(AlignModel, given, where="x")
