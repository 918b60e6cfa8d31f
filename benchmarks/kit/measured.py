"""The zoo's models with what was measured of them on this machine: operators' seconds, and what codecs do to tensors.

Codecs are tried on photographs, of print for the models that read, and on every tensor that some plan would send if
codecs were as good as they can be at best, until no plan sends an untried one: that is how a deployment measures as
well (orchestrator/profiling.py).
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isthmus import zoo
from isthmus.zoo.packages import file_in
from isthmus.zoo.photos import photo
from kit.problems import ZOO
from nodes.backend import Array
from nodes.codec import CODECS, KINDS, worth_trying
from nodes.codec_errors import codec_errors, codec_figures
from nodes.functions import function
from nodes.profiler import profile_model
from partitioner.graph import Graph
from partitioner.load import load
from partitioner.plan import Infeasible
from partitioner.problem import Problem
from partitioner.profile import EngineKey, Profile, TensorFigure
from partitioner.search.mincut import solve

PHOTOS = ("coffee", "chelsea", "china", "flower")
PAGE = "data/page.png"  # of scikit-image: a photographed page of print, for the models that find and read text
LINES = ((6, 38, 230), (44, 66, 384), (60, 82, 384), (78, 98, 384))  # rows from, to, and columns, of lines on it
ENGINE = EngineKey(node_class="here", backend="onnxruntime")
MESSAGE_S, MESSAGE_S_PER_BYTE = 2e-4, 2e-10  # of software, each message; not measured here (calibration.py does)
CROP, MIDDLE = 0.875, 127.5  # pixels become (x - MIDDLE) / MIDDLE, within a thousandth of what the models learned with


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, its profile, and photographs as its inputs."""

    name: str
    path: Path
    graph: Graph
    profile: Profile
    feeds: tuple[Mapping[str, Array], ...]


def subjects(photos: int, seconds: float) -> Iterator[Subject]:
    """Each zoo model, timed for about `seconds`; one that can't be built or run here is told and left out."""
    for name in ZOO:
        try:
            yield subject(name, PHOTOS[:photos], seconds)
        except (Exception, SystemExit) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)


def subject(name: str, photos: Sequence[str], seconds: float) -> Subject:
    path = zoo.build(name)
    graph = load(path).graph
    files = pictures(name, photos)
    feeds = tuple({given: fitted(graph, given, file) for given in graph.inputs} for file in files)
    profile = profile_model(path, [ENGINE], feeds=feeds[0], seconds=seconds)
    noise = np.random.default_rng(0).standard_normal((1, 64, 32, 32)).astype(np.float32)
    profile = replace(
        profile,
        codecs=codec_figures(np.maximum(noise, 0.0), CODECS),
        message_s=MESSAGE_S,
        message_s_per_byte=MESSAGE_S_PER_BYTE,
    )
    return Subject(name=name, path=path, graph=graph, profile=profile, feeds=feeds)


def pictures(name: str, photos: Sequence[str]) -> list[bytes]:
    """JPEG files of what the model is for: as many as there are names of photographs."""
    if not name.startswith("ocr"):
        return [photo(one) for one in photos]
    from PIL import Image

    with Image.open(file_in("skimage", PAGE)) as page:
        pixels = np.array(page.convert("RGB"))
    lines = [pixels[first:end, :width] for first, end, width in LINES]
    pages = [pixels, *lines] if name == "ocr_detect" else lines
    return [function("encode_jpeg").run({"quality": 95}, one)[0].tobytes() for one in pages[: len(photos)]]


def fitted(graph: Graph, name: str, file: bytes) -> Array:
    """A JPEG file as the input wants it: the file, pixels [H, W, 3], or normalised planes [1, 3, H, W]."""
    wanted = graph.activations[name]
    data = np.frombuffer(file, np.uint8)
    if len(wanted.shape) == 1:
        return data
    height, width = wanted.shape[:2] if wanted.dtype == "uint8" else wanted.shape[2:]
    (pixels,) = function("decode_jpeg").run({}, data)
    (pixels,) = function("resize").run({"size": [height, width], "crop": CROP}, pixels)
    if wanted.dtype == "uint8":
        return pixels
    planes: Array = function("normalise").run({"mean": MIDDLE, "scale": MIDDLE}, pixels)[0]
    return planes


def tried(one: Subject, ask: Callable[[Profile], Iterable[Problem]], rounds: int) -> tuple[Subject, int]:
    """The subject with codecs tried on its inputs and all that the best plans of the problems asked would send.

    Also how many tensors some plan would still send untried after so many rounds.
    """
    wanted = tuple(one.graph.inputs)
    for _ in range(rounds):
        figures = codec_errors(one.path, wanted, list(one.feeds), CODECS)
        one = replace(one, profile=replace(one.profile, tensors={**one.profile.tensors, **figures}))
        wanted = _untried(one, ask)
        if not wanted:
            break
    return one, len(wanted)


def _untried(one: Subject, ask: Callable[[Profile], Iterable[Problem]]) -> tuple[str, ...]:
    hoped: dict[str, Mapping[str, TensorFigure]] = {}
    for name, made in one.graph.activations.items():
        worth = worth_trying(CODECS, made.shape, made.dtype, model_input=made.producer is None)
        if made.dtype == "float32":
            hoped[name] = {codec: TensorFigure(ratio=KINDS[codec].nominal_ratio, error=0.0) for codec in worth}
    floats, known = tuple(hoped), one.profile.tensors
    hoping = replace(one.profile, tensors={**hoped, **known})
    sent: dict[str, None] = {}
    for problem in ask(hoping):
        plan = solve(problem)
        if not isinstance(plan, Infeasible):
            sent.update(dict.fromkeys(name for crossing in plan.crossings for name in crossing.tensors))
    return tuple(name for name in sent if name not in known and name in floats)
