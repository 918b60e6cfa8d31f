"""Which cells there are to compare: engines by the precisions that they tell of, threads and variants.

Each engine is asked in a process of its own. What isn't installed, or doesn't compute in a precision asked for, is
a row with its reason; a name that nothing knows is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nodes.backend import BACKENDS, Option
from nodes.selecting.asking import Ask
from nodes.selecting.cells import PLAIN, REFUSED, Cell, Measured
from nodes.selecting.exchange import Request, Told
from orchestrator.errors import SpecError

ASK_S = 60.0  # an engine's import from a cold disk
WIDTHS = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; empty for all there is. `options` of each backend."""

    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    variants: tuple[str, ...] = (PLAIN,)
    options: Mapping[str, Mapping[str, Option]] | None = None


def ask_engines(backends: Sequence[str], ask: Ask) -> dict[str, Told]:
    """What each backend tells of itself, in its own process. SpecError for a name that is none."""
    for name in backends:
        if name not in BACKENDS:
            raise SpecError(f"no backend {name!r}; there are {', '.join(BACKENDS)}{_meant(name, list(BACKENDS))}")
    told = {}
    for name in backends or tuple(BACKENDS):
        found = ask(Request(cell=Cell(backend=name)), ASK_S)
        assert isinstance(found, Told)
        told[name] = found
    return told


def check_precisions(wanted: Sequence[str], told: Mapping[str, Told]) -> None:
    """SpecError for a precision that no engine here computes in and that isn't one at all."""
    known = list(dict.fromkeys([*(one for engine in told.values() for one in engine.precisions), *WIDTHS]))
    for name in wanted:
        if name not in known:
            raise SpecError(f"no precision {name!r}; engines here compute in {', '.join(known)}{_meant(name, known)}")


def cells_of(wanted: Wanted, told: Mapping[str, Told]) -> tuple[tuple[Cell, ...], dict[Cell, Measured]]:
    """The cells to measure, and those that needn't be: an engine that isn't here, a precision that it lacks.

    A variant carries its precision in itself: it is run in float32, if that is wanted, not at each of the engine's.
    """
    cells: list[Cell] = []
    refused: dict[Cell, Measured] = {}
    for backend, engine in told.items():
        options = tuple(sorted((wanted.options or {}).get(backend, {}).items()))
        if engine.missing:
            cell = Cell(backend=backend, threads=wanted.threads[0], options=options)
            refused[cell] = Measured(state=REFUSED, reason=engine.missing)
            continue
        for precision in wanted.precisions or engine.precisions:
            for threads in wanted.threads:
                cell = Cell(backend=backend, precision=precision, threads=threads, options=options)
                if precision in engine.precisions:
                    cells.append(cell)
                else:
                    here = f"{backend} here computes in {', '.join(engine.precisions)}, not {precision}"
                    refused[cell] = Measured(state=REFUSED, reason=here, version=engine.version)
        cells += [
            Cell(backend=backend, threads=threads, variant=variant, options=options)
            for variant in wanted.variants
            for threads in wanted.threads
            if variant != PLAIN and "float32" in (wanted.precisions or engine.precisions)
        ]
    return tuple(dict.fromkeys(cells)), refused


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
