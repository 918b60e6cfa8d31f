"""The artifact of a stage: a folder of model files and the manifest that names, sizes and hashes them.

Its id is the SHA-256 of manifest.json's bytes, so the id covers every byte of every file. Nothing here compiles
or runs; what a manifest from elsewhere says is checked before it is believed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.backend import TensorSpec
from nodes.errors import ArtifactError
from nodes.functions import Param

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep:
    """Run an ONNX file of the artifact. The names are the ONNX model's inputs and outputs."""

    onnx: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStep:
    """Run a registered function: tensors by name, in the function's order."""

    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Param] = field(default_factory=dict)


Step = ModelStep | FunctionStep


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What a file of the artifact must be."""

    sha256: str
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The steps in their order, the tensors they need from outside and give to it, and the files they use."""

    steps: tuple[Step, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: Mapping[str, FileEntry]

    @property
    def nbytes(self) -> int:
        """Bytes of all files, the manifest left out."""
        return sum(entry.nbytes for entry in self.files.values())


def write(folder: Path, *, steps: Sequence[Step], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """Hash the files that lie in `folder`, write its manifest and return the artifact's id.

    Equal contents give equal ids. ArtifactError if a step's ONNX file is not there.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    for step in steps:
        if isinstance(step, ModelStep) and step.onnx not in names:
            raise ArtifactError(f"{folder}: a step runs {step.onnx}, which is not in the folder")
    document = {
        "steps": [_step_document(step) for step in steps],
        "inputs": [_spec_document(spec) for spec in inputs],
        "outputs": [_spec_document(spec) for spec in outputs],
        "files": {
            name: {"sha256": hash_file(folder / name), "nbytes": (folder / name).stat().st_size} for name in names
        },
    }
    encoded = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    (folder / MANIFEST).write_bytes(encoded)
    return sha256(encoded).hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of the artifact in `folder`; ArtifactError if there is none or it is malformed."""
    try:
        return parse((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{folder} holds no {MANIFEST}; is it an artifact?") from None


def parse(encoded: bytes) -> Manifest:
    """A manifest from its bytes. File names with a folder in them are refused, whatever they point at."""
    try:
        document = json.loads(encoded)
        manifest = Manifest(
            steps=tuple(_step(entry) for entry in document["steps"]),
            inputs=tuple(_spec(entry) for entry in document["inputs"]),
            outputs=tuple(_spec(entry) for entry in document["outputs"]),
            files={
                str(name): FileEntry(sha256=str(entry["sha256"]), nbytes=int(entry["nbytes"]))
                for name, entry in document["files"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{MANIFEST} is malformed: {type(error).__name__}: {error}") from None
    for name in manifest.files:
        check_file_name(name)
    for step in manifest.steps:
        if isinstance(step, ModelStep) and step.onnx not in manifest.files:
            raise ArtifactError(f"{MANIFEST}: a step runs {step.onnx!r}, which is not among the files")
    return manifest


def verify(folder: Path, sha: str) -> Manifest:
    """Check every byte against the id; ArtifactError names the file that is missing, short or altered."""
    manifest = read(folder)
    if (found := hash_file(folder / MANIFEST)) != sha:
        raise ArtifactError(f"{folder / MANIFEST} has SHA-256 {found[:12]}…, not {sha[:12]}…; send the artifact again")
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; send the artifact again")
        if (size := path.stat().st_size) != entry.nbytes:
            raise ArtifactError(f"{path} has {size} bytes, not {entry.nbytes}; send the artifact again")
        if hash_file(path) != entry.sha256:
            raise ArtifactError(f"{path} is not what its SHA-256 promised; send the artifact again")
    return manifest


def check_file_name(name: str) -> None:
    """ArtifactError unless `name` is a plain file name that stays in its folder."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ArtifactError(f"file name {name!r} is not plain; an artifact is one folder deep")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in pieces."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _step_document(step: Step) -> dict[str, Any]:
    names = {"inputs": list(step.inputs), "outputs": list(step.outputs)}
    if isinstance(step, ModelStep):
        return {"onnx": step.onnx, **names}
    return {"function": step.function, "params": dict(step.params), **names}


def _step(entry: dict[str, Any]) -> Step:
    inputs, outputs = tuple(map(str, entry["inputs"])), tuple(map(str, entry["outputs"]))
    if "onnx" in entry:
        return ModelStep(onnx=str(entry["onnx"]), inputs=inputs, outputs=outputs)
    params = dict(entry.get("params", {}))
    return FunctionStep(function=str(entry["function"]), inputs=inputs, outputs=outputs, params=params)


def _spec_document(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _spec(entry: dict[str, Any]) -> TensorSpec:
    shape = tuple(None if dim is None else int(dim) for dim in entry["shape"])
    return TensorSpec(str(entry["name"]), str(entry["dtype"]), shape)
