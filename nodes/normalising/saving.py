"""Writes a model whose heavy weights may lie in external files: nothing reads or copies those if it can be helped."""

import os
import shutil
from pathlib import Path

import onnx


def save(proto: onnx.ModelProto, directory: Path | None, path: Path) -> Path:
    """Write the model, whole or not at all; external weights, found below `directory`, are linked beside it.

    They are copied where the file system can't link. `proto` is not changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_external(proto) and directory is not None and directory != path.parent:
        moved = onnx.ModelProto()
        moved.CopyFrom(proto)
        for tensor in moved.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _move(tensor, directory, path)
        proto = moved
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(proto.SerializeToString(deterministic=True))
    partial.replace(path)
    return path


def is_external(proto: onnx.ModelProto) -> bool:
    """Whether any weight lies in another file."""
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)


def _move(tensor: onnx.TensorProto, directory: Path, path: Path) -> None:
    entry = next(entry for entry in tensor.external_data if entry.key == "location")
    source = directory / entry.value
    # The model's name in front keeps two models in one folder apart.
    target = path.with_name(f"{path.stem}-{entry.value.replace('/', '-')}")
    if target.exists() and not target.samefile(source):
        target.unlink()
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    entry.value = target.name
