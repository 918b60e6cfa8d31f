"""Watches eighteen situations, whole, cut, and with a sense missing, counts what is right, and plans it over machines.

python -m examples.street_watch [PLAN.svg], from the repository's root; the plan is drawn in PLAN.svg.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from examples.spoken_image_search.stages import planned
from examples.street_watch.pipeline import pipeline
from examples.street_watch.planning import TOPOLOGY, measured, problem
from examples.street_watch.stages import BOXES, CODECS, cut
from examples.street_watch.watch import Event, given, score, watch
from isthmus.plot import plan_svg
from isthmus.render import plan_picture, unsplit_table
from nodes.normalise import Normalised
from partitioner.load import Model
from partitioner.plan import Infeasible
from partitioner.search.answer import answer


def main() -> None:
    """Every way to run it, one after the other."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="isthmus-watch-") as scratch:
        folder = Path(scratch)
        started = perf_counter()
        whole = _model(folder, "whole")
        console.print(f"keyword head trained, pipeline joined in {perf_counter() - started:.0f} s")
        table = Table("run", "words", "keywords", "decisions", "changed", "bytes an item")
        events = _run(table, "whole", whole, folder)
        for event in events:
            console.print(_told(event))
        _run(table, "cut raw", whole, folder, events, BOXES)
        _run(table, "cut, int8 and fp16", whole, folder, events, BOXES, CODECS)
        _run(table, "no microphone", _model(folder, "mute", microphone=False), folder, events)
        _run(table, "no camera", _model(folder, "blind", camera=False), folder, events)
        console.print(table)
        _plan(console, folder, whole, [Path(name) for name in sys.argv[1:2]])


def _model(folder: Path, name: str, *, camera: bool = True, microphone: bool = True) -> Model:
    part = folder / name
    part.mkdir()
    made = pipeline(folder, camera=camera, microphone=microphone)
    samples = {source.name: given("bus")[source.name] for source in made.sources}
    return planned(made, samples, part)


def _run(
    table: Table,
    title: str,
    model: Model,
    folder: Path,
    before: Sequence[Event] = (),
    boxes: Sequence[Sequence[str]] = (),
    codecs: Mapping[str, str] | None = None,
) -> list[Event]:
    """Watch everything, and add a row: what is right, what is other than `before`, what crossed the cuts."""
    programs = cut(model, folder / "store", boxes, codecs)
    try:
        events = watch(programs.run, model.graph.inputs)
    finally:
        programs.close()
    counts = score(events)
    changed = sum(not event.agrees(other) for event, other in zip(events, before, strict=False))
    parts = ["–" if one is None else f"{one} of {counts.of}" for one in (counts.words, counts.keywords)]
    sent = f"{sum(programs.sent.values()) // counts.of:,}" if boxes else "–"
    told = str(changed) if before else "–"
    table.add_row(title, *parts, f"{counts.decisions} of {counts.of}", told, sent)
    return events


def _told(event: Event) -> str:
    read = ", ".join(f"{line!r} {sure:.2f}" for line, sure in event.lines if line) or "nothing"
    heard = f"{event.keyword or 'no keyword'} ({event.called:.2f}, speech {event.spoken:.0%})"
    meant = event.meant
    verdict = (
        "right"
        if event.label == (meant.word, meant.keyword, meant.decision)
        else f"wrong, it is {meant.decision}: {meant.word!r}, {meant.keyword!r}"
    )
    return f"  {event.name}: reads {read} → {event.word or 'no word'}; hears {heard}; {event.decision}: {verdict}"


def _plan(console: Console, folder: Path, model: Model, drawn_in: list[Path]) -> None:
    path = Normalised(model.proto, model.directory, {}).save(folder / "planned.onnx")
    asked = problem(model, measured(path, given("harbour")))
    found = answer(asked)
    console.print(f"the plan over {TOPOLOGY.name}, branches side by side:")
    if isinstance(found, Infeasible):
        raise SystemExit(f"no plan fits: {found.constraint}: {found.detail}")
    console.print(plan_picture(found), unsplit_table(found))
    for file in drawn_in:
        file.write_text(plan_svg(asked.graph, found, problem=asked), encoding="utf-8")
        console.print(f"drawn in {file}")


if __name__ == "__main__":
    main()
