"""The forms of a model that cells run: what to load for each variant, alone and for each batch size.

Artifacts are made once and kept beside the measurements. A variant changes what an engine is given; a precision is
what an engine makes of what it is given.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from nodes import artifact
from nodes.artifact import FunctionStep, Manifest, ModelStep
from nodes.backend import Array, TensorSpec
from nodes.errors import NodesError
from nodes.selecting.cells import PLAIN
from nodes.selecting.measure import stacked
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from partitioner.errors import InvalidModel, PartitionerError
from partitioner.load import load

VARIANTS = (PLAIN, "int8", "float16")  # compared unless told otherwise; nodes/variants/forms.py has more
FLOATS = ("float16", "bfloat16")

Feeds = Sequence[Mapping[str, Array]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A variant as artifacts: the folder of itself, and of each batch size that it takes; why not more, in one line.

    `sha256` is the artifact's.
    """

    variant: str
    sha256: str
    folder: Path
    batches: Mapping[str, str] = field(default_factory=dict)
    batch_note: str = ""


def forms_of(
    model: Path, variants: Sequence[str], calibration: Feeds, batches: Sequence[int], root: Path, say: Say
) -> tuple[dict[str, Form], dict[str, str]]:
    """The forms of a normalised model by variant, the model itself first, and why others can't be made.

    UnknownForm for a variant that there isn't.
    """
    from nodes.variants.forms import form_named

    workshop = _Workshop(model, root, calibration, say)
    found = {PLAIN: workshop.form(PLAIN, batches)}
    impossible = {}
    for name in dict.fromkeys(variants):
        if name == PLAIN:
            continue
        form_named(name)
        try:
            found[name] = workshop.form(name, batches)
        except (PartitionerError, NodesError) as refusal:
            impossible[name] = " ".join(str(refusal).split())
    return found, impossible


class _Workshop:
    """Makes artifacts of one model; batch sizes that it made or found impossible it knows again."""

    def __init__(self, model: Path, root: Path, calibration: Feeds, say: Say) -> None:
        self._model, self._root, self._calibration, self._say = model, root, calibration, say
        self._store = Store(root / "artifacts")

    def form(self, name: str, batches: Sequence[int]) -> Form:
        """The form of a variant; NodesError or PartitionerError if it can't be made."""
        if name != PLAIN:
            self._say(f"making the form {name}")
        sha = self._whole(self._model) if name == PLAIN else self._changed(name)
        folder = self._store.path(sha)
        if any(isinstance(step, FunctionStep) for step in artifact.read(folder).steps):
            note = "a model with functions of its own takes one request at a time"
            return Form(variant=name, sha256=sha, folder=folder, batch_note=note)
        found = {size: self._known(name, sha, size) for size in sorted(set(batches) - {1})}
        made = {str(size): str(self._store.path(one["artifact"])) for size, one in found.items() if "artifact" in one}
        note = next((one["refused"] for one in found.values() if "refused" in one), "")
        return Form(variant=name, sha256=sha, folder=folder, batches=made, batch_note=note)

    def _known(self, name: str, sha: str, size: int) -> Mapping[str, str]:
        """The artifact for `size` requests at once, or why there is none; found out once and written down."""
        known = self._root / f"{name}-{sha[:16]}-batch-{size}.json"
        try:
            found: dict[str, str] = json.loads(known.read_text())
            if "refused" in found or self._store.has(found["artifact"]):
                return found
        except (OSError, ValueError, KeyError):
            known.unlink(missing_ok=True)
        self._say(f"{name}: the model for batches of {size}")
        try:
            found = {"artifact": self._batch(name, sha, size)}
        except (PartitionerError, NodesError) as refusal:
            found = {"refused": " ".join(str(refusal).split())}
        known.write_text(json.dumps(found))
        return found

    def _whole(self, path: Path) -> str:
        model = load(path)
        graph = model.graph
        operators = tuple(one.name for one in graph.operators)
        return stage_artifact(model, operators, graph.inputs, graph.outputs, self._store)

    def _changed(self, name: str) -> str:
        """The artifact of the model itself with its one ONNX file in another form."""
        from nodes.variants.errors import NotPossible
        from nodes.variants.pieces import Pieces
        from nodes.variants.registry import variant

        manifest = artifact.read(self._store.path(self._whole(self._model)))
        if len([step for step in manifest.steps if isinstance(step, ModelStep)]) != 1:
            raise NotPossible(f"the form {name} can't be made: functions lie between the model's operators")
        with variant(self._model, name, feeds=self._calibration) as made:
            return self._packed(Pieces(made.path).core, manifest)

    def _batch(self, name: str, sha: str, size: int) -> str:
        """The artifact for `size` requests at once: the form enlarged, or else the form of the enlarged model.

        The latter for narrower floats, since enlarging means normalising, and ONNX Runtime's optimiser, which does
        that, puts casts around every operator that it lacks in half precision; and for a form that takes its scales
        from the whole batch, so that a row's answer depends on the others.
        """
        from nodes.rebatch import rebatched
        from nodes.variants.registry import variant

        manifest = artifact.read(self._store.path(sha))
        shape = manifest.inputs[0].shape if manifest.inputs else ()
        rows = (shape[0] if shape else None) or 1
        with tempfile.TemporaryDirectory(prefix=".batch-", dir=self._root) as scratch:
            larger = Path(scratch) / "model.onnx"
            if name not in (PLAIN, *FLOATS):
                with suppress(InvalidModel):
                    rebatched(self._store.path(sha) / _model_file(manifest), rows * size, larger)
                    return self._packed(onnx.load(larger), manifest)
            rebatched(self._model, rows * size, larger)
            if name == PLAIN:
                return self._whole(larger)
            feeds = () if name in FLOATS else [stacked(self._calibration, size)]
            with variant(larger, name, feeds=feeds) as made:
                return self._packed(onnx.load(made.path), manifest)

    def _packed(self, model: onnx.ModelProto, manifest: Manifest) -> str:
        """The artifact of the manifest's steps with this model; inputs have the shapes that it states."""
        from orchestrator.model_file import declared_inputs

        with tempfile.TemporaryDirectory(prefix=".building-", dir=self._root) as scratch:
            path = Path(scratch) / _model_file(manifest)
            onnx.save_model(model, path)
            stated = {spec.name: spec for spec in declared_inputs(path)}
            inputs = [stated.get(spec.name, spec) for spec in manifest.inputs]
            outputs = [TensorSpec(spec.name, spec.dtype, (None,) * len(spec.shape)) for spec in manifest.outputs]
            artifact.write(path.parent, steps=manifest.steps, inputs=inputs, outputs=outputs)
            return self._store.add(path.parent)


def _model_file(manifest: Manifest) -> str:
    """The one ONNX file of an artifact."""
    (name,) = (step.onnx for step in manifest.steps if isinstance(step, ModelStep))
    return name
