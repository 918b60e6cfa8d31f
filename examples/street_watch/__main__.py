"""Watches eighteen situations, whole, cut, with a sense missing and deployed, and counts what is right.

Run it from the repository's root: python -m examples.street_watch [--local]

It deploys over the four machines of topology.yaml, emulated here, unless it is to stay --local; the plan's picture is
written to plan.svg beside this file.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from examples.spoken_image_search.stages import planned
from examples.street_watch.deployed import TOPOLOGY, picture, serve, spec_of
from examples.street_watch.pipeline import pipeline
from examples.street_watch.stages import BOXES, CODECS, TWO_MACHINES, cut
from examples.street_watch.watch import Event, given, score, watch
from isthmus import Client
from isthmus.render import plan_picture
from partitioner.load import Model

DEAF = ("inn",)  # the situation during which the microphone is out of order; there is nothing to be heard
console = Console(highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Every way to run it, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m examples.street_watch")
    parser.add_argument("--local", action="store_true", help="deploy nothing")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isthmus-watch-") as scratch:
        folder = Path(scratch)
        started = perf_counter()
        whole = _model(folder, "whole")
        console.print(f"keyword head trained, pipeline joined in {perf_counter() - started:.0f} s")
        events = _run("whole", whole, folder)
        for event in events:
            _tell(event)
        rows = [_row("whole", events)]
        for title, codecs in (("cut raw", {}), ("cut, int8 and fp16", CODECS)):
            rows.append(_row(title, _run(title, whole, folder, BOXES, codecs), events))
        for sense in ("camera", "microphone"):
            model = _model(folder, sense, camera=sense != "camera", microphone=sense != "microphone")
            rows.append(_row(f"without {sense}", _run(sense, model, folder), events))
        if not asked.local:
            rows.append(_deploy(folder, events))
        table = Table("run", "words right", "keywords right", "events right", "changed")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _deploy(folder: Path, before: Sequence[Event]) -> list[str]:
    spec = spec_of(folder)
    console.print(f"\ndeployed over\n{TOPOLOGY.read_text()}measuring and planning…")
    with Client() as client:
        served = serve(spec, client, DEAF)
    console.print(plan_picture(served.plan))
    console.print(f"picture: {picture(spec, served.plan, TOPOLOGY.with_name('plan.svg'))}")
    console.print(f"  the camera saw {served.seen} frames; {len(served.seconds)} of them showed something new")
    console.print(
        f"  the microphone was out of order, so these were asked without a sound: {', '.join(served.unheard)}"
    )
    took, told = median(served.seconds), served.plan.predicted.latency_s
    console.print(
        f"  an item took {took * 1e3:.0f} ms (median of {len(served.seconds)}), predicted {told * 1e3:.0f} ms"
    )
    return _row("deployed", served.events, before)


def _model(folder: Path, name: str, *, camera: bool = True, microphone: bool = True) -> Model:
    part = folder / name
    part.mkdir()
    spec = pipeline(folder, camera=camera, microphone=microphone).spec(folder, topology=TWO_MACHINES)
    samples = {entry.name: given("bus")[entry.name] for entry in spec.inputs}
    return planned(spec, samples, part)


def _run(
    title: str,
    model: Model,
    folder: Path,
    boxes: Sequence[Sequence[str]] = (),
    codecs: Mapping[str, str] | None = None,
) -> list[Event]:
    """Watch everything, and say what crossed the cuts."""
    programs = cut(model, folder / "store", boxes, codecs)
    try:
        events = watch(programs.run, model.graph.inputs)
    finally:
        programs.close()
    for name, nbytes in programs.sent.items():
        console.print(f"{title}: {name}: {nbytes // len(events):,} bytes an item")
    return events


def _row(title: str, events: Sequence[Event], before: Sequence[Event] = ()) -> list[str]:
    """What is right, and how many events are other than `before`."""
    counts = score(events)
    right = [
        "–" if one is None else f"{one} of {counts.of}" for one in (counts.words, counts.keywords, counts.decisions)
    ]
    changed = sum(not one.agrees(other) for one, other in zip(events, before, strict=False))
    return [title, *right, str(changed) if before else "–"]


def _tell(event: Event) -> None:
    read = ", ".join(f"{line!r} {sure:.2f}" for line, sure in event.lines if line) or "nothing"
    heard = f"{event.keyword or 'no keyword'} ({event.called:.2f}, speech {event.spoken:.0%})"
    meant = event.meant
    right = event.label == (meant.word, meant.keyword, meant.decision)
    verdict = "right" if right else f"wrong, it is {meant.decision}: {meant.word!r}, {meant.keyword!r}"
    console.print(
        f"  {event.name}: reads {read} → {event.word or 'no word'}; hears {heard}; {event.decision}: {verdict}"
    )


if __name__ == "__main__":
    main()
