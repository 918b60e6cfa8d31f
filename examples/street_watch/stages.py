"""The watch as programs of this process, cut where a deployment would cut it: what the camera's box makes, what the
microphone's does, and the rest. What crosses is encoded and decoded as on a link; only the link is not there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.spoken_image_search.stages import Parts, makers_of
from examples.street_watch.pipeline import CAMERA, MICROPHONE
from nodes.program import Program
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from partitioner.load import Model
from partitioner.segment_features import ends_of

EYE = "letters.p2o.Mul.203"  # two thirds into the reader: 120 features at 80 places of each line
EAR = "embed.vectors"  # between the embedding and the keyword head
BOXES = (("scores", EYE), (EAR, "speech.share"))  # what the camera's and the microphone's give
TWO_MACHINES = {
    "nodes": [{"name": name, "tier": "device", "backends": ["onnxruntime"]} for name in (CAMERA, MICROPHONE)],
    "links": [{"from": CAMERA, "to": MICROPHONE, "goodput_mbps": 100, "rtt_ms": 1}],
}
CODECS = {EYE: "int8", EAR: "fp16"}


def cut(
    model: Model, folder: Path, boxes: Sequence[Sequence[str]] = (), codecs: Mapping[str, str] | None = None
) -> Parts:
    """A program for the tensors of each of `boxes`, and one for all the rest."""
    store, graph = Store(folder), model.graph
    groups = [makers_of(graph, names) for names in boxes]
    groups.append(set(range(len(graph.operators))).difference(*groups))
    programs = []
    for members in map(sorted, groups):
        inputs, outputs = ends_of(graph, members)
        artifact = stage_artifact(model, tuple(graph.operators[at].name for at in members), inputs, outputs, store)
        programs.append(Program.load(store.path(artifact), threads=2))
    return Parts(programs, codecs or {}, graph.outputs)
