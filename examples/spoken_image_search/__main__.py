"""Finds photographs by voice and by hand, whole and cut, and counts the right ones: run it from the repository's root.

python -m examples.spoken_image_search
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from examples.spoken_image_search.pipeline import pipeline
from examples.spoken_image_search.questions import QUESTIONS, album
from examples.spoken_image_search.search import Found, ask, search
from examples.spoken_image_search.stages import parts, planned
from partitioner.load import Model

EAR = "hear.sound"  # between Whisper's encoder and its decoder
EYE = "look.block4_add"  # a third into EfficientNet
CODECS = {EAR: "fp16", EYE: "int8"}


def main() -> None:
    """Every way to run it, one after the other."""
    with tempfile.TemporaryDirectory(prefix="isthmus-search-") as scratch:
        folder = Path(scratch)
        for spoken in (True, False):
            model = planned(pipeline(folder, spoken=spoken), _sample(spoken=spoken), folder)
            cuts = (EAR, EYE) if spoken else (EYE,)
            kind = "spoken" if spoken else "typed (the microphone is missing)"
            whole = _report(f"{kind}, whole", model, folder)
            for found in whole:
                _tell(found)
            for title, codecs in (("raw", {}), ("with codecs", {name: CODECS[name] for name in cuts})):
                found = _report(f"{kind}, cut at {' and '.join(cuts)}, {title}", model, folder, cuts, codecs)
                changed = [one.question for one, other in zip(found, whole, strict=True) if one.best != other.best]
                print(f"  answers that the cut changed: {', '.join(changed) or 'none'}")


def _report(
    title: str, model: Model, folder: Path, cuts: Sequence[str] = (), codecs: Mapping[str, str] | None = None
) -> list[Found]:
    """Ask everything, and say how many answers are right and what crossed the cuts."""
    programs = parts(model, folder / "store", cuts=cuts, codecs=codecs)
    try:
        found = search(programs.run, spoken="sound" in model.graph.inputs)
    finally:
        programs.close()
    print(f"{title}: {sum(one.right for one in found)} of {len(found)} right")
    for name, nbytes in programs.sent.items():
        print(f"  {name}: {nbytes // len(album()):,} bytes an item")
    return found


def _tell(found: Found) -> None:
    (best, score), (other, less) = found.scores[:2]
    heard = f" heard as {found.heard!r}" if found.heard else ""
    verdict = "right" if found.right else f"wrong, it means {found.wanted}"
    print(f"  {found.question!r}{heard}: {best} {score:.2f}, then {other} {less:.2f}; {verdict}")


def _sample(*, spoken: bool) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    question, (_, right) = next(iter(QUESTIONS.items()))
    return {**ask(question, spoken=spoken), "photo": np.frombuffer(album()[right], np.uint8)}


if __name__ == "__main__":
    main()
