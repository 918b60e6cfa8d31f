"""A spec's `align` held against its inputs, and what stands for one that is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.aligning.kept_array import KeptArray
from orchestrator.aligning.standing_in import InputForm, terms_for
from orchestrator.aligning.terms import AlignModel, AlignTerms
from orchestrator.errors import SpecError
from orchestrator.plain import read_as, to_plain
from orchestrator.yaml_file import check

FORMS = {
    "photo": InputForm(dtype="uint8", shape=None),
    "sound": InputForm(dtype="float32", shape=(1, 4)),
    "words": InputForm(dtype="string", shape=(2,)),
}
PLAIN: dict[str, Any] = {"photo": {}, "sound": {}, "words": {}}


def terms(modalities: dict[str, Any], folder: Path = Path()) -> AlignTerms:
    align = check(AlignModel, {"by": [next(iter(modalities))], "modalities": modalities}, where="x")
    return terms_for(align, FORMS, where="x", folder=folder)


def test_a_modality_is_the_input_of_its_name_or_those_it_tells() -> None:
    found = terms({"seen": {"inputs": ["photo", "words"]}, "sound": {}})
    assert {name: one.inputs for name, one in found.modalities.items()} == {
        "seen": ("photo", "words"),
        "sound": ("sound",),
    }


def test_what_stands_in_has_its_input_s_form(tmp_path: Path) -> None:
    np.save(tmp_path / "black.npy", np.arange(5, dtype=np.uint8))
    found = terms(
        {
            "sound": {"missing": "without", "instead": -0.5},
            "words": {"missing": "without", "instead": "nothing"},
            "photo": {"missing": "without", "instead": {"photo": "black.npy"}},
        },
        tmp_path,
    )
    stands = {name: one.instead[name].array() for name, one in found.modalities.items()}
    np.testing.assert_array_equal(stands["sound"], np.full((1, 4), -0.5, np.float32), strict=True)
    np.testing.assert_array_equal(stands["photo"], np.arange(5, dtype=np.uint8), strict=True)
    assert stands["words"].tolist() == ["nothing", "nothing"]


def test_terms_come_back_from_what_the_journal_s_folder_keeps() -> None:
    found = terms(PLAIN | {"sound": {"missing": "without", "instead": 2}})
    assert read_as(AlignTerms, to_plain(found)) == found


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.int64), np.array(True), np.array([["a", "é"]], np.object_)])
def test_a_kept_array_comes_back(array: Any) -> None:
    np.testing.assert_array_equal(KeptArray.of(array).array(), array, strict=True)


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        ({"photo": {}, "sound": {}}, "no modality has input 'words', which every request needs"),
        ({"photo": {}, "voice": {}}, "align.modalities.voice: no input 'voice'; inputs are photo, .* say which"),
        (PLAIN | {"both": {"inputs": ["sound"]}}, "modalities.both: input 'sound' is one of modality 'sound' already"),
        (PLAIN | {"sound": {"missing": "without"}}, "sound.instead: is missing for 'sound'"),
        (PLAIN | {"sound": {"instead": 0}}, "sound.instead: goes with missing: without, while it is 'wait'"),
        (PLAIN | {"sound": {"missing": "without", "instead": {"sund": 0}}}, "'sund' is none of its inputs"),
        (PLAIN | {"photo": {"missing": "without", "instead": 0}}, "photo tells no dtype, or no shape in full"),
        (PLAIN | {"sound": {"missing": "without", "instead": "no.npy"}}, "no.npy: No such file"),
        (PLAIN | {"sound": {"missing": "without", "instead": "four.npy"}}, r"holds \[4\], while the input is \[1, 4\]"),
        (PLAIN | {"sound": {"missing": "without", "instead": "whole.npy"}}, "holds int64, while the input is float32"),
        (PLAIN | {"sound": {"missing": "without", "instead": "text.npy"}}, "text.npy: .*; save it with numpy.save"),
        (PLAIN | {"sound": {"missing": "without", "instead": "large.npy"}}, "has 4.8 MB; at most 4 MB can stand in"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, modalities: dict[str, Any], said: str) -> None:
    np.save(tmp_path / "four.npy", np.zeros(4, np.float32))
    np.save(tmp_path / "whole.npy", np.zeros((1, 4), np.int64))
    np.save(tmp_path / "large.npy", np.zeros(1_200_000, np.float32))
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(SpecError, match=said):
        terms(modalities, tmp_path)


def test_a_number_that_is_none_of_the_input_s_type_is_refused() -> None:
    given = {"photo": {"missing": "without", "instead": 300}}
    align = check(AlignModel, {"by": ["photo"], "modalities": given}, where="x")
    with pytest.raises(SpecError, match="300 is no uint8"):
        terms_for(align, {"photo": InputForm(dtype="uint8", shape=(2,))}, where="x", folder=Path())
    with pytest.raises(SpecError, match=r"photo.instead: 8\.0 MB"):
        terms_for(align, {"photo": InputForm(dtype="uint8", shape=(8_000_000,))}, where="x", folder=Path())
