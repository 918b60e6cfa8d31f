"""A normalised model taken apart for measuring: its pure part as a file an engine loads, its functions, and values.

Controller only: imports onnx and ONNX Runtime.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import onnx

from nodes.attribution import Wiring
from nodes.backend import Array, Session, TensorSpec
from nodes.feeds import check_feeds
from nodes.normalise import DYNAMIC_KEY
from nodes.normalising.evaluate import Evaluator, Values
from nodes.normalising.functions import outer_reads, split, type_of
from nodes.normalising.saving import save
from nodes.timing import sample_feeds
from partitioner.errors import InvalidModel


class ModelParts:
    """`functions` in topological order, `wiring` of the pure operators, `core_path` their ONNX file (None: no such).

    Inputs that `feeds` lacks are drawn at random; InvalidModel where a registered function wants a real one.
    """

    def __init__(self, path: Path, feeds: Mapping[str, Array] | None = None) -> None:
        proto = onnx.load_model(path, load_external_data=False)
        self.label = path.name
        self.proto = proto
        self.inputs = tuple(_spec(entry, dynamic_names(proto)) for entry in proto.graph.input)
        self.outputs = tuple(entry.name for entry in proto.graph.output)
        self.feeds = self.completed(feeds or {})
        parts = split(proto, {entry.name: type_of(entry) for entry in proto.graph.input}, self.label)
        self.functions = parts.functions
        self.core = parts.core
        self.wiring = _wiring(parts.core.graph) if parts.core else ()
        self._folder = tempfile.TemporaryDirectory(prefix="isthmus-parts-")
        self.core_path: Path | None = None
        if parts.core is not None:
            self.core_path = save(parts.core, path.parent, Path(self._folder.name) / "core.onnx")
        self.evaluator = Evaluator(parts.core, parts.functions, {}, self.label, path.parent)
        self.values = Values(self.evaluator, self.feeds)

    def feeds_of(self, session: Session) -> dict[str, Array]:
        """What a session of the pure part reads, the outputs of functions among it."""
        return {spec.name: self.values.value(spec.name) for spec in session.inputs}

    def __enter__(self) -> "ModelParts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was written."""
        self._folder.cleanup()

    def completed(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`feeds` with the inputs that it lacks drawn at random. BadInput if they don't fit the model."""
        drawn = [spec for spec in self.inputs if spec.name not in feeds]
        if wanting := [spec.name for spec in drawn if None in spec.shape]:
            raise InvalidModel(f"{self.label}: input {wanting[0]!r} needs a real sample, such as a picture file")
        whole = {**sample_feeds(drawn), **feeds}
        check_feeds(self.inputs, whole)
        return whole


def _spec(entry: onnx.ValueInfoProto, dynamic: frozenset[str]) -> TensorSpec:
    dtype, shape = type_of(entry)
    return TensorSpec(entry.name, dtype, tuple(None for _ in shape) if entry.name in dynamic else shape)


def dynamic_names(proto: onnx.ModelProto) -> frozenset[str]:
    """Activations whose stated shape is only that of a sample."""
    listed = next((entry.value for entry in proto.metadata_props if entry.key == DYNAMIC_KEY), "")
    return frozenset(listed.split(",")) - {""}


def _wiring(graph: onnx.GraphProto) -> tuple[Wiring, ...]:
    maker = {name: node.name for node in graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in outer_reads(node):
            readers.setdefault(name, []).append(node.name)
    return tuple(
        Wiring(
            name=node.name,
            op_type=node.op_type,
            makes=tuple(node.output),
            feeds_from=tuple(maker[name] for name in node.input if name in maker),
            feeds_to=tuple(reader for name in node.output for reader in readers.get(name, ())),
        )
        for node in graph.node
    )
