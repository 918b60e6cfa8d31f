"""Models that every backend must run, and what they are fed: the zoo's, a transformer and pieces cut from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from isthmus import zoo
from isthmus.zoo.errors import WeightsMissing
from nodes.artifact import FunctionStep, ModelStep, Step, write
from nodes.backend import Array, Session, TensorSpec, load_backend
from nodes.errors import EngineMissing
from nodes.functions import Param
from nodes.normalise import normalise
from partitioner.extract import extract, save_onnx
from partitioner.load import Model, load
from tests.nodes.onnx_models import INT64, info, model_of, node, random_weight, weight

WIDTH, HEADS, VOCABULARY = 32, 4, 50


def compiled_reference(model: bytes | Path) -> Session:
    """ONNX Runtime's session: what the others are held against."""
    return load_backend("onnxruntime").compile(model)


def zoo_model(name: str) -> Path:
    """The path of a zoo model, or a skip that says what is missing."""
    import pytest

    try:
        return zoo.build(name)
    except (WeightsMissing, EngineMissing) as error:
        pytest.skip(str(error))


def whole(path: Path, folder: Path) -> Path:
    """The artifact of a whole model, its functions as steps."""
    model = load(path)
    steps: list[Step] = []
    for number, piece in enumerate(
        extract(model, [one.name for one in model.graph.operators], model.graph.inputs, model.graph.outputs)
    ):
        if piece.model is None:
            params = cast("dict[str, Param]", dict(piece.params))
            steps.append(
                FunctionStep(function=piece.function, params=params, inputs=piece.inputs, outputs=piece.outputs)
            )
        else:
            save_onnx(piece.model, folder / f"model-{number}.onnx", piece.directory)
            steps.append(ModelStep(onnx=f"model-{number}.onnx", inputs=piece.inputs, outputs=piece.outputs))
    inputs, outputs = ([spec_of(model, name) for name in names] for names in (model.graph.inputs, model.graph.outputs))
    write(folder, steps=steps, inputs=inputs, outputs=outputs)
    return folder


def spec_of(model: Model, name: str) -> TensorSpec:
    """An activation as a manifest states it: free where its shape is a sample's."""
    one = model.graph.activations[name]
    return TensorSpec(name, one.dtype, tuple(None if one.dynamic else dim for dim in one.shape))


def transformer(length: int = 12, layers: int = 2) -> ModelProto:
    """ids, mask int64 [1, length] → embedding [1, 32], built as MiniLM is: LayerNormalization, Erf, a masked mean."""
    nodes = [
        node("Gather", ["words", "ids"], ["embedded"], "embed"),
        node("Shape", ["ids"], ["shape"], "shape"),
        node("Gather", ["shape", "one"], ["count"], "count"),
        node("Slice", ["places", "zero", "count", "zero"], ["here"], "places_here"),
        node("Add", ["embedded", "here"], ["x0"], "place"),
        node("Cast", ["mask"], ["mask_f"], "mask_float", to=TensorProto.FLOAT),
        node("Sub", ["ones", "mask_f"], ["hidden"], "mask_inverse"),
        node("Mul", ["hidden", "huge"], ["penalty"], "mask_scale"),
        node("Unsqueeze", ["penalty", "axes"], ["bias"], "mask_bias"),
    ]
    weights = [
        random_weight("words", VOCABULARY, WIDTH),
        random_weight("places", 64, WIDTH, seed=1),
        weight("zero", [0], np.int64),
        weight("one", [1], np.int64),
        weight("last", [2], np.int64),
        weight("axes", [1, 2], np.int64),
        weight("heads", [0, 0, HEADS, WIDTH // HEADS], np.int64),
        weight("merge", [0, 0, WIDTH], np.int64),
        weight("ones", 1.0),
        weight("half", 0.5),
        weight("rsqrt2", 2**-0.5),
        weight("root", (WIDTH // HEADS) ** -0.5),
        weight("huge", -1e4),
    ]
    for layer in range(layers):
        added, extra = _layer(layer)
        nodes += added
        weights += extra
    nodes += [
        node("Unsqueeze", ["mask_f", "last"], ["pool_mask"], "pool_mask"),
        node("Mul", [f"x{layers}", "pool_mask"], ["kept"], "pool_keep"),
        node("ReduceSum", ["kept", "one"], ["summed"], "pool_sum", keepdims=0),
        node("ReduceSum", ["mask_f", "one"], ["counted"], "pool_count", keepdims=1),
        node("Div", ["summed", "counted"], ["embedding"], "pool_mean"),
    ]
    inputs = [info(name, "batch", "length", dtype=INT64) for name in ("ids", "mask")]
    return model_of(nodes, inputs, [info("embedding", "batch", WIDTH)], weights)


def _layer(index: int) -> tuple[list[NodeProto], list[TensorProto]]:
    at, x = f"L{index}_", f"x{index}"
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []

    def linear(given: str, made: str, rows: int, columns: int) -> None:
        weights.append(random_weight(f"{at}{made}.W", rows, columns, seed=index * 10 + len(weights)))
        nodes.append(node("MatMul", [given, f"{at}{made}.W"], [f"{at}{made}"], f"{at}{made}"))

    def chain(op_type: str, given: Sequence[str], made: str, **attributes: Any) -> str:
        nodes.append(node(op_type, given, [f"{at}{made}"], f"{at}{made}", **attributes))
        return f"{at}{made}"

    for part in "qkv":
        linear(x, part, WIDTH, WIDTH)
        chain("Reshape", [f"{at}{part}", "heads"], f"{part}_heads")
        chain("Transpose", [f"{at}{part}_heads"], f"{part}_t", perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3])
    scores = chain("Mul", [chain("MatMul", [f"{at}q_t", f"{at}k_t"], "scores"), "root"], "scaled")
    weighed = chain("Softmax", [chain("Add", [scores, "bias"], "masked")], "attention", axis=-1)
    mixed = chain("Transpose", [chain("MatMul", [weighed, f"{at}v_t"], "mixed")], "mixed_t", perm=[0, 2, 1, 3])
    linear(chain("Reshape", [mixed, "merge"], "merged"), "out", WIDTH, WIDTH)
    weights.extend([weight(f"{at}gamma", np.ones(WIDTH)), weight(f"{at}beta", np.zeros(WIDTH))])
    norm = chain("LayerNormalization", [chain("Add", [f"{at}out", x], "residual"), f"{at}gamma", f"{at}beta"], "norm")
    linear(norm, "wide", WIDTH, 4 * WIDTH)
    erf = chain("Erf", [chain("Mul", [f"{at}wide", "rsqrt2"], "gelu_in")], "erf")
    gelu = chain("Mul", [chain("Mul", [f"{at}wide", chain("Add", [erf, "ones"], "erf_1")], "gelu_x"), "half"], "gelu")
    linear(gelu, "narrow", 4 * WIDTH, WIDTH)
    nodes.append(node("Add", [f"{at}narrow", norm], [f"x{index + 1}"], f"{at}done"))
    return nodes, weights


def tokens(length: int = 12) -> dict[str, Array]:
    """A sentence of 12 tokens of which the last third is padding."""
    mask = np.ones((1, length), np.int64)
    mask[:, 2 * length // 3 :] = 0
    return {"ids": np.random.default_rng(3).integers(0, VOCABULARY, (1, length)), "mask": mask}


def normalised_transformer() -> Model:
    """The transformer as planning sees it."""
    return load(normalise(transformer(), shapes={"ids": (1, 12), "mask": (1, 12)}).proto)


def halves(model: Model, at: int) -> tuple[bytes, bytes, tuple[str, ...]]:
    """The model cut before its operator number `at`, and the activations that cross."""
    graph = model.graph
    names = [operator.name for operator in graph.operators]
    live = tuple(
        name
        for name, activation in graph.activations.items()
        if (activation.producer is None or activation.producer < at)
        and any(reader >= at for reader in activation.consumers)
    )
    front_outputs = tuple(name for name in live if name not in graph.inputs)
    (front,) = extract(model, names[:at], graph.inputs, front_outputs)
    (back,) = extract(model, names[at:], live, graph.outputs)
    assert front.model is not None and back.model is not None
    return front.model.SerializeToString(), back.model.SerializeToString(), live
