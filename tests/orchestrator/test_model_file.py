"""A spec's model, normalised once and kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from nodes.backend import TensorSpec
from orchestrator import model_file
from orchestrator.errors import SpecError
from orchestrator.model_file import declared_inputs, prepare
from partitioner.errors import InvalidModel, InvalidProblem
from tests.nodes.onnx_models import dense, saved, two_inputs
from tests.orchestrator.small_site import site, spec_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_model_is_normalised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(saved(dense(), tmp_path), site())
    first = prepare(spec)
    monkeypatch.setattr(model_file, "normalise", None)
    assert prepare(spec) == first
    assert first.inputs == (TensorSpec("x", "float32", (1, 8)),)


def test_another_shape_or_content_is_another_file(tmp_path: Path) -> None:
    spec = spec_of(saved(dense("batch"), tmp_path), site())
    shaped = [replace(spec, inputs=(replace(spec.inputs[0], shape=(n, 8)),)) for n in (1, 2)]
    one, two = (prepare(each) for each in shaped)
    assert (one.inputs[0].shape, two.inputs[0].shape) == ((1, 8), (2, 8))
    saved(dense(), tmp_path)
    assert prepare(spec).path not in (one.path, two.path)


def test_a_spec_that_names_what_the_model_lacks_is_refused(tmp_path: Path) -> None:
    spec = spec_of(saved(dense(), tmp_path), site(), given="z")
    with pytest.raises(SpecError, match=r"inputs\.z: model\.onnx has no such input; it has x"):
        prepare(spec)


def test_an_input_left_out_of_a_spec_is_named(tmp_path: Path) -> None:
    spec = spec_of(saved(two_inputs(), tmp_path), site(), given="ids")
    with pytest.raises(SpecError, match=r"inputs\.gain: is missing"):
        prepare(replace(spec, inputs=(replace(spec.inputs[0], shape=(5,)),)))


def test_privacy_until_an_operator_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = spec_of(saved(dense(), tmp_path), site())
    kept = replace(spec.inputs[0], private=True, private_until="nowhere")
    with pytest.raises((SpecError, InvalidProblem), match="nowhere"):
        prepare(replace(spec, inputs=(kept,)))


def test_declared_inputs_leave_open_dimensions_open(tmp_path: Path) -> None:
    assert declared_inputs(saved(dense("batch"), tmp_path)) == (TensorSpec("x", "float32", (None, 8)),)


def test_what_is_not_onnx_declares_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff not onnx")
    with pytest.raises(InvalidModel, match=r"x\.onnx is not an ONNX file"):
        declared_inputs(tmp_path / "x.onnx")
