"""A pipeline as programs of this process: the whole of it, or cut where a deployment would cut it.

Each part is extracted, packed and loaded as a worker does it, and what crosses a cut is encoded and decoded as on a
link; only the link is not there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nodes.backend import Array
from nodes.codec import decode, encode_named
from nodes.normalise import normalise
from nodes.program import Program
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from orchestrator.spec import DeploymentSpec
from partitioner.graph import Graph
from partitioner.load import Model, load
from partitioner.segment_features import ends_of

ONE_MACHINE = {"nodes": [{"name": "phone", "tier": "device", "backends": ["onnxruntime"]}], "links": []}


def planned(spec: DeploymentSpec, samples: Mapping[str, Array], folder: Path) -> Model:
    """The spec's pipeline as planning sees it, written to `folder`."""
    return load(normalise(spec.model, samples=samples).save(folder / f"{spec.name}.onnx"))


@dataclass(frozen=True, slots=True)
class Parts:
    """Programs in turn. `sent` is how many bytes crossed the cuts since it was made."""

    programs: Sequence[Program]
    codecs: Mapping[str, str]
    outputs: Sequence[str]
    sent: dict[str, int] = field(default_factory=dict)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The pipeline's outputs."""
        known = dict(feeds)
        for program in self.programs:
            made = program.run({spec.name: known[spec.name] for spec in program.inputs})
            known |= {name: self._crossed(name, array) for name, array in made.items()}
        return {name: known[name] for name in self.outputs}

    def close(self) -> None:
        """Free the programs' engines."""
        for program in self.programs:
            program.close()

    def _crossed(self, name: str, array: Array) -> Array:
        if name in self.outputs:
            return array
        meta, buffer = encode_named(name, array, self.codecs.get(name, "raw"))
        self.sent[name] = self.sent.get(name, 0) + meta.nbytes + len(meta.scales)
        return decode(meta, buffer)


def parts(model: Model, folder: Path, *, cuts: Sequence[str] = (), codecs: Mapping[str, str] | None = None) -> Parts:
    """A program up to each tensor of `cuts`, and one for all the rest."""
    store, graph = Store(folder), model.graph
    taken: set[int] = set()
    programs = []
    for name in (*cuts, ""):
        members = sorted((makers_of(graph, (name,)) if name else set(range(len(graph.operators)))) - taken)
        taken.update(members)
        inputs, outputs = ends_of(graph, members)
        artifact = stage_artifact(model, tuple(graph.operators[at].name for at in members), inputs, outputs, store)
        programs.append(Program.load(store.path(artifact), threads=2))
    return Parts(programs, codecs or {}, graph.outputs)


def makers_of(graph: Graph, tensors: Iterable[str]) -> set[int]:
    """The operators that make tensors, and all that those need."""
    found: set[int] = set()
    waiting = list(tensors)
    while waiting:
        maker = graph.activations[waiting.pop()].producer
        if maker is not None and maker not in found:
            found.add(maker)
            waiting.extend(graph.operators[maker].inputs)
    return found
