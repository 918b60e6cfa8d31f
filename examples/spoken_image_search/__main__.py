"""Finds photographs by voice and by hand, whole, cut and deployed, and counts the right ones.

Run it from the repository's root: python -m examples.spoken_image_search [--local]

It deploys over the three machines of topology.yaml, emulated here, unless it is to stay --local; the plan's picture is
written to plan.svg beside this file. Measuring and planning take two minutes on two cores.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console

from examples.spoken_image_search.deployed import TOPOLOGY, picture, serve, spec_of
from examples.spoken_image_search.pipeline import pipeline
from examples.spoken_image_search.questions import QUESTIONS, album
from examples.spoken_image_search.search import Found, ask, search
from examples.spoken_image_search.stages import ONE_MACHINE, parts, planned
from isthmus import Client
from isthmus.render import plan_picture
from partitioner.load import Model

EAR = "hear.sound"  # between Whisper's encoder and its decoder
EYE = "look.block4_add"  # a third into EfficientNet
CODECS = {EAR: "fp16", EYE: "int8"}


def main() -> None:
    """Every way to run it, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m examples.spoken_image_search")
    parser.add_argument("--local", action="store_true", help="deploy nothing")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isthmus-search-") as scratch:
        folder = Path(scratch)
        for spoken in (True, False):
            spec = pipeline(folder, spoken=spoken).spec(folder, topology=ONE_MACHINE)
            model = planned(spec, _sample(spoken=spoken), folder)
            cuts = (EAR, EYE) if spoken else (EYE,)
            kind = "spoken" if spoken else "typed (the microphone is missing)"
            whole = _report(f"{kind}, whole", model, folder)
            for found in whole:
                _tell(found)
            for title, codecs in (("raw", {}), ("with codecs", {name: CODECS[name] for name in cuts})):
                found = _report(f"{kind}, cut at {' and '.join(cuts)}, {title}", model, folder, cuts, codecs)
                changed = [one.question for one, other in zip(found, whole, strict=True) if one.best != other.best]
                print(f"  answers that the cut changed: {', '.join(changed) or 'none'}")
        if not asked.local:
            _deploy(folder)


def _deploy(folder: Path) -> None:
    spec = spec_of(folder)
    print(f"\ndeployed over\n{TOPOLOGY.read_text()}measuring and planning…")
    with Client() as client:
        served = serve(spec, client)
    Console().print(plan_picture(served.plan))
    print(f"picture: {picture(spec, served.plan, TOPOLOGY.with_name('plan.svg'))}")
    print(f"spoken, deployed: {sum(one.right for one in served.found)} of {len(served.found)} right")
    for found in served.found:
        _tell(found)
    took, told = median(served.seconds), served.plan.predicted.latency_s
    print(f"  a pair took {took * 1e3:.0f} ms (median of {len(served.seconds)}), predicted {told * 1e3:.0f} ms")


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
