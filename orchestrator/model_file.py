"""A spec's model, normalised once and kept: the same source and shapes give the same file from the cache."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nodes.backend import TensorSpec
from nodes.joining.sources import with_sources
from nodes.normalise import FORM, is_normalised, normalise
from orchestrator.artifacts import tensor_specs
from orchestrator.blueprint import check_names, private_tensors
from orchestrator.cache_folder import cache_folder, fingerprint
from orchestrator.errors import SpecError
from orchestrator.lengths import at_lengths
from orchestrator.samples import load_samples
from orchestrator.signing import check_trusted
from orchestrator.spec import DeploymentSpec
from partitioner.errors import InvalidModel
from partitioner.load import DTYPE_OF, Model, load
from partitioner.sources import told_inputs
from partitioner.stateful import stateful


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyModel:
    """A normalised model's file in a folder of its own, its inputs, and the SHA-256 of its planning identity."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    sha256: str


def prepare(spec: DeploymentSpec) -> ReadyModel:
    """The spec's model, normalised with the shapes and samples that the spec gives, and found to fit the spec.

    InvalidModel, UnsupportedOperator, BadInput or SpecError in one line; no cluster is needed to hear of it. Where keys
    are trusted (signing.py), SpecError for a model that none of them signed.
    """
    for path in spec.parts or (spec.model,):
        check_trusted(path)
    shapes = {entry.name: entry.shape for entry in spec.inputs if entry.shape is not None}
    given = {entry.name: entry.samples for entry in spec.inputs if entry.samples is not None}
    lengths = {entry.name: (entry.pad, entry.lengths) for entry in spec.inputs if entry.lengths}
    meant = [
        FORM,
        fingerprint(spec.model),
        shapes,
        {k: str(v) for k, v in given.items()},
        *([lengths] if lengths else []),
    ]
    key = sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "models" / key / "model.onnx"
    if is_normalised(spec.model):
        if lengths:
            raise SpecError(
                f"inputs.{min(lengths)}.pad.lengths: {spec.model.name} is normalised, its shapes are fixed; "
                "give the model that it was made of"
            )
        path = spec.model
    elif not path.exists():
        declared = declared_inputs(spec.model) if given or lengths else ()
        samples = load_samples(given, declared)[0]
        if lengths:
            at_lengths(spec, declared, shapes, samples).save(path)
        else:
            normalise(spec.model, shapes=shapes, samples=samples or None).save(path)
    model = read_model(spec, path)
    _check(spec, model)
    return ReadyModel(path=path, inputs=tensor_specs(model, told_inputs(model.whole)), sha256=model.sha256)


def read_model(spec: DeploymentSpec, path: Path) -> Model:
    """The normalised model in the file as the spec has it planned: without what its sequences carry on, and with an
    operator for each input that is at another node than requests arise at.
    """
    model = load(path)
    away = {entry.name for entry in spec.inputs if entry.at != spec.source}
    if away:
        return with_sources(model, away)
    if spec.sequence is None:
        return model
    return stateful(model, dict(spec.sequence.state), spec.sequence.kept)


def files_of(path: Path) -> dict[str, Path]:
    """What a normalised model consists of: the model as "model.onnx", and the weights it keeps in files beside it."""
    import onnx

    tensors = onnx.load(path, load_external_data=False).graph.initializer
    entries = [entry for tensor in tensors for entry in tensor.external_data if entry.key == "location"]
    return {"model.onnx": path} | {entry.value: path.parent / entry.value for entry in entries}


def _check(spec: DeploymentSpec, model: Model) -> None:
    """SpecError or InvalidProblem for a name, dtype or privacy bound in the spec that does not fit the model."""
    check_names(spec, model)
    private_tensors(spec, model)
    for entry in spec.inputs:
        has = model.whole.activations[entry.name].dtype
        shape = model.whole.activations[entry.name].shape
        if entry.shape is not None and entry.shape != shape:
            raise SpecError(
                f"inputs.{entry.name}.shape: {list(entry.shape)}, while {spec.model.name} fixes it at {list(shape)}; "
                "leave it out, or give the model that it was made of"
            )
        if entry.dtype not in (None, has):
            raise SpecError(f"inputs.{entry.name}.dtype: {entry.dtype}, but {spec.model.name} takes {has}; give that")


def declared_inputs(path: Path) -> tuple[TensorSpec, ...]:
    """The inputs as the file declares them; open dimensions are None. InvalidModel if it is not ONNX."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise InvalidModel(f"{path} is not an ONNX file") from None
    held = {tensor.name for tensor in proto.graph.initializer}
    specs = []
    for entry in proto.graph.input:
        if entry.name not in held:
            tensor = entry.type.tensor_type
            dtype = DTYPE_OF.get(tensor.elem_type) or onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
            specs.append(TensorSpec(entry.name, dtype, shape))
    return tuple(specs)
