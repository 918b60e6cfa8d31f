"""What each form changes in a graph, and what it leaves alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from nodes.backend import Option
from nodes.normalise import normalise
from nodes.options import Options
from nodes.variants.choosing import suits
from nodes.variants.errors import NotPossible
from nodes.variants.errors_of import errors_of
from nodes.variants.forms import FORMS, Feeds
from nodes.variants.pieces import Pieces, tapped
from nodes.variants.ranges import ranges_of
from tests.contracts.backend_models import transformer
from tests.nodes.onnx_models import info, model_of, node, weight
from tests.nodes.variants.models import convolutional, on_disk, pictures, texts, textual


def made(form: str, model: ModelProto, feeds: Feeds = (), **options: Option) -> ModelProto:
    with Options(form, options) as read:
        return FORMS[form].maker()(model, feeds, read)


def kinds(model: ModelProto) -> Counter[str]:
    return Counter(one.op_type for one in model.graph.node)


def outputs(model: ModelProto, feeds: Feeds) -> list[dict[str, Any]]:
    return list[dict[str, Any]](tapped(model, [entry.name for entry in model.graph.output], feeds))


def sqnr(model: ModelProto, other: ModelProto, feeds: Feeds) -> float:
    found = errors_of(outputs(model, feeds), outputs(other, feeds)).sqnr_db
    return np.inf if found is None else found


def dtypes(model: ModelProto) -> dict[str, str]:
    return {one.name: numpy_helper.to_array(one).dtype.name for one in model.graph.initializer}


def test_static_activations_are_unsigned_and_weights_signed_by_channel() -> None:
    model = made("int8-static", convolutional(), pictures(8))
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert held["x_zero_point"].dtype == np.uint8
    assert held["w0_quantized"].dtype == np.int8
    assert held["w0_scale"].shape == (8,)


def test_signed_activations_lie_around_zero_and_leave_biases_float() -> None:
    model = made("int8-static", convolutional(), pictures(8), activations="signed")
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    zeros = [values for name, values in held.items() if name.endswith("zero_point")]
    assert {values.dtype.name for values in zeros} == {"int8"}
    assert not any(values.any() for values in zeros)
    assert {held[name].dtype.name for name in ("b0", "b1", "b2")} == {"float32"}
    assert sqnr(convolutional(), model, pictures(4)) > 25


def test_scores_leave_a_static_form_unrounded() -> None:
    model = made("int8-static", convolutional(), pictures(8))
    (last,) = (one for one in model.graph.node if "scores" in one.output)
    assert last.op_type == "Gemm"


def mean_activation(model: ModelProto, feeds: Feeds) -> Any:
    taken: list[Any] = [one["c1"] for one in tapped(model, ["c1"], feeds)]
    return np.mean(taken, axis=(0, 1, 3, 4))


@pytest.mark.parametrize("form", ["int8-static", "weights8"])
def test_correcting_biases_brings_mean_activations_nearer(form: str) -> None:
    feeds, model = pictures(16), convolutional()
    corrected = made(form, model, feeds)
    left = made(form, model, feeds, bias_correction=False) if form == "int8-static" else made(form, model)
    exact = mean_activation(model, feeds)
    off = [np.abs(mean_activation(one, feeds) - exact).sum() for one in (corrected, left)]
    assert off[0] < 0.7 * off[1]


def test_operators_kept_float_keep_their_weights() -> None:
    assert "w1_quantized" in dtypes(made("int8-static", convolutional(), pictures(4)))
    kept = dtypes(made("int8-static", convolutional(), pictures(4), keep_float="conv1, classify"))
    assert (kept["w1"], kept["w2"]) == ("float32", "float32")
    assert "w0_quantized" in kept


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_other_calibrations_answer_nearly_the_same(method: str) -> None:
    model = made("int8-static", convolutional(), pictures(16), calibration=method)
    assert sqnr(convolutional(), model, pictures(4, seed=1)) > 15


def test_the_worst_products_of_a_dynamic_form_stay_float() -> None:
    model = textual()
    weights = {one.name: one for one in model.graph.initializer}
    for name, value in (("table", 0.0), ("w0", 1e3)):  # large weights for what is always 0 spoil the others' scale
        changed = numpy_helper.to_array(weights[name]).copy()
        changed[(slice(None), 0) if name == "table" else 0] = value
        weights[name].CopyFrom(weight(name, changed))
    judged, blind = made("int8-dynamic", model, texts(4)), made("int8-dynamic", model)
    assert "w0" in dtypes(judged)
    assert "w0" not in dtypes(blind)
    assert kinds(judged)["MatMulInteger"] == kinds(blind)["MatMulInteger"] - 1 == 11


def test_attention_s_own_products_stay_float() -> None:
    model = normalise(transformer(), shapes={"ids": (1, 12), "mask": (1, 12)}).proto
    assert kinds(made("int8-dynamic", model))["MatMul"] == 4  # two a layer


def test_tables_are_picked_as_integers() -> None:
    model = made("weights8", textual())
    assert dtypes(model)["table.integers"] == "int8"
    assert kinds(model)["Gather"] == 2
    assert sqnr(textual(), model, texts(4)) > 25


def test_tables_are_left_float_when_asked() -> None:
    assert dtypes(made("weights8", textual(), tables=False))["table"] == "float32"
    assert "table" in dtypes(made("int8-dynamic", textual(), tables=False))


def test_four_bits_have_a_scale_a_block() -> None:
    model = made("weights4", textual(), block=8)
    assert dtypes(model)["w0.integers"] == "int4"
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert held["w0.scales"].shape == (2, 16)
    exact = numpy_helper.to_array(next(one for one in textual().graph.initializer if one.name == "w0"))
    steps = held["w0.scales"].repeat(8, axis=0)
    assert (np.abs(held["w0.integers"].astype(np.float32) * steps - exact) <= steps * 0.5001).all()


def test_each_weight_is_within_half_a_step() -> None:
    model = made("weights8", convolutional())
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    exact = numpy_helper.to_array(next(one for one in convolutional().graph.initializer if one.name == "w0"))
    scales = held["w0.scales"].reshape(-1, 1, 1, 1)
    assert (np.abs(held["w0.integers"] * scales - exact) <= scales * 0.5001).all()


def test_half_precision_refuses_a_weight_that_overflows_by_name() -> None:
    model = textual()
    model.graph.initializer[2].CopyFrom(weight("w2", np.full((16, 16), 1e6)))
    with pytest.raises(NotPossible, match=r"weight 'w2' reaches 1e\+06, beyond half precision's 65504; give clamp"):
        made("float16", model)
    assert dtypes(made("float16", model, keep_float="product2"))["w2"] == "float32"
    assert dtypes(made("float16", model, clamp=True))["w2"] == "float16"


def test_half_precision_refuses_an_activation_that_overflows_by_name() -> None:
    model = convolutional(gain=1e5)
    with pytest.raises(NotPossible, match="weight 'w0' reaches"):
        made("float16", model, pictures(2))
    model = convolutional(gain=1e4)
    with pytest.raises(NotPossible, match=r"activation 'c0' reaches .*; name its operators in keep_float"):
        made("float16", model, pictures(2))
    kept = made("float16", model, pictures(2), keep_float="conv0,relu0,conv1")
    assert sqnr(model, _sorted(kept), pictures(2)) > 40


def _sorted(model: ModelProto) -> ModelProto:
    from nodes.normalising.functions import ordered

    nodes = ordered(model.graph.node, [*dtypes(model), *(entry.name for entry in model.graph.input)])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_inputs_and_outputs_keep_their_types(tmp_path: Path) -> None:
    pieces = Pieces(on_disk(convolutional(), tmp_path))
    for form in FORMS:
        whole = pieces.joined(made(form, pieces.core, pictures(4)))
        onnx.checker.check_model(whole, full_check=True)
        kept = [entry.type.tensor_type.elem_type for entry in (*whole.graph.input, *whole.graph.output)]
        assert kept == [onnx.TensorProto.FLOAT] * 2


def test_convolutions_suit_static_scales_and_products_dynamic_ones() -> None:
    assert suits(convolutional()) == "int8-static"
    assert suits(normalise(transformer(), shapes={"ids": (1, 12), "mask": (1, 12)}).proto) == "int8-dynamic"


def test_ranges_tell_peaks_and_what_overflows() -> None:
    nodes = [node("Mul", ["x", "big"], ["y"], "grow")]
    model = model_of(nodes, [info("x", 2)], [info("y", 2)], [weight("big", 1e5)])
    found = ranges_of(model, [{"x": np.array([0.0, 3.0], np.float32)}, {"x": np.array([-4.0, 0.5], np.float32)}])
    x = found["x"]
    assert (x.lowest, x.highest, x.smallest, x.largest) == (-4.0, 3.0, 0.5, 4.0)
    assert x.rms == pytest.approx((25.25 / 4) ** 0.5)
    assert x.dynamic_db == pytest.approx(20 * np.log10(8))
    assert x.fits_float16 and not found["y"].fits_float16


def test_the_range_of_zeros_is_none() -> None:
    found = ranges_of(textual(), ())
    assert found == {}
    model = model_of([node("Relu", ["x"], ["y"], "r")], [info("x", 2)], [info("y", 2)])
    zero = ranges_of(model, [{"x": np.zeros(2, np.float32)}])["y"]
    assert (zero.peak_db, zero.dynamic_db, zero.smallest) == (0.0, 0.0, 0.0)
