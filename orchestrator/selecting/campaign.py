"""One comparison from its cells to what is known of them: in which order they run, for how long, and what was known.

The reference, ONNX Runtime in float32 on the model itself, is measured first, and again halfway and at the end: how
far its medians lie apart is how restless the machine was. Nothing is measured here: `ask` does that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from nodes.backend import Array
from nodes.selecting.asking import Ask
from nodes.selecting.cells import BUILT, LEFT_OUT, PLAIN, RAN, Cell, Measured
from nodes.selecting.exchange import Request
from orchestrator.selecting.accuracy import Incomparable, Outputs, accuracy_of
from orchestrator.selecting.cells import Accuracy
from orchestrator.selecting.forms import Form
from orchestrator.selecting.ledger import Ledger

REFERENCE_BACKEND = "onnxruntime"
LEAST_LIMIT_S = 20.0  # for a cell: an engine may compile for long, as long as the budget lasts
LEAST_LEFT_S = 2.0  # with less of the budget than this no cell is begun
SECONDS = (0.2, 2.0)  # of timing, each figure
SHARE = 0.1  # of a cell's part of the budget, spent on one figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Answers that others are held against: a cell's, on a node of a cluster, or here if that is ""."""

    cell: Cell
    node: str
    answers: Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to compare. `versions` of the backends, `forms` by variant, `samples` as the file that processes read.

    `labels`: the right class of each row of scores. `standard`: another machine's, for want of an own reference.
    `node`: where this is.
    """

    cells: tuple[Cell, ...]
    reference: Cell | None
    versions: Mapping[str, str]
    forms: Mapping[str, Form]
    samples: Path
    budget_s: float
    labels: Sequence[int] | None = None
    standard: Standard | None = None
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known at the end. `spoiled`: cells whose answers can't be compared, with the reason.

    `again_s`: the reference's medians, in time. `resumed`: how many cells were known from before.
    """

    measured: Mapping[Cell, Measured]
    accuracies: Mapping[Cell, Accuracy] = field(default_factory=dict)
    spoiled: Mapping[Cell, str] = field(default_factory=dict)
    reference: Cell | None = None
    standard: Standard | None = None
    again_s: tuple[float, ...] = ()
    resumed: int = 0

    @property
    def noise(self) -> float:
        """The reference's medians: the greatest less the least, over the one in the middle."""
        return (max(self.again_s) - min(self.again_s)) / median(self.again_s) if self.again_s else 0.0


class Campaign:
    """One run through a task. `say` hears a line for each cell."""

    def __init__(
        self, task: Task, ledger: Ledger, ask: Ask, *, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._task, self._ledger, self._ask, self._clock, self._say = task, ledger, ask, clock, say
        self._end_s = clock() + task.budget_s

    def run(self) -> Findings:
        """Measure what is not known yet, within the budget."""
        task, reference = self._task, self._task.reference
        order = list(dict.fromkeys([*([reference] if reference else []), *task.cells]))
        known = {cell: found for cell in order if (found := self._known(cell, len(order))) is not None}
        asked = [cell for cell in order if cell not in known]
        measured = dict(known)
        if reference in asked:
            self._ledger.keep_again(reference, self._version(reference), ())
        for number, cell in enumerate(asked):
            measured[cell] = self._measure(cell, len(asked) - number)
            if number + 1 in {(len(asked) + 1) // 2, len(asked)} and cell != reference:
                self._once_more(measured.get(reference) if reference else None, len(asked) - number)
        first = measured[reference].speed if reference else None
        times = () if reference is None or first is None else (first.p50_s, *self._again_s(reference))
        resumed = sum(cell in known for cell in task.cells)
        return self._compared(Findings(measured=measured, again_s=times, resumed=resumed))

    def _known(self, cell: Cell, cells: int) -> Measured | None:
        return self._ledger.find(cell, self._version(cell), limit_s=self._limit_s(cells))

    def _again_s(self, reference: Cell) -> tuple[float, ...]:
        return self._ledger.again_s(reference, self._version(reference))

    def _version(self, cell: Cell) -> str:
        return f"{self._task.versions.get(cell.backend, '')} {self._task.forms[cell.variant].sha256}"

    def _left_s(self) -> float:
        return self._end_s - self._clock()

    def _limit_s(self, cells_left: int) -> float:
        """A cell's time: twice its share of what is left, so that most may take less and a few more."""
        left_s = self._left_s()
        return min(left_s, max(LEAST_LIMIT_S, 2 * left_s / cells_left))

    def _measure(self, cell: Cell, cells_left: int) -> Measured:
        if self._left_s() < LEAST_LEFT_S:
            return Measured(state=LEFT_OUT, reason="the budget was spent; the same command goes on from here")
        self._say(f"{cell.name} ({cells_left} to go)")
        found = self._asked(cell, cells_left, whole=True)
        self._ledger.keep(cell, self._version(cell), found)
        return found

    def _once_more(self, before: Measured | None, cells_left: int) -> None:
        """Write down the reference's median now, if there is time and it ran before."""
        reference = self._task.reference
        if reference is None or before is None or before.speed is None or self._left_s() < LEAST_LEFT_S:
            return
        self._say(f"{reference.name} once more")
        found = self._asked(reference, cells_left, whole=False)
        if found.speed is not None:
            times = (*self._again_s(reference), found.speed.p50_s)
            self._ledger.keep_again(reference, self._version(reference), times)

    def _asked(self, cell: Cell, cells_left: int, *, whole: bool) -> Measured:
        form = self._task.forms[cell.variant]
        seconds = min(SECONDS[1], max(SECONDS[0], SHARE * self._left_s() / cells_left))
        request = Request(
            cell=cell,
            folder=str(form.folder),
            samples=str(self._task.samples),
            outputs=str(self._ledger.answers_path(cell, self._version(cell))) if whole else "",
            seconds=seconds,
            batches=form.batches if whole else {},
        )
        found = self._answer(request, cells_left)
        if found.state == BUILT:
            found = _merged(found, self._answer(replace(request, built=True), cells_left))
        if found.speed is not None and form.batch_note and whole:
            note = found.speed.batch_note or form.batch_note
            return replace(found, speed=replace(found.speed, batch_note=note))
        return found

    def _answer(self, request: Request, cells_left: int) -> Measured:
        found = self._ask(request, max(LEAST_LEFT_S, self._limit_s(cells_left)))
        assert isinstance(found, Measured)
        return found

    def _compared(self, found: Findings) -> Findings:
        """Every cell's answers against the standard's."""
        ran = [cell for cell, one in found.measured.items() if one.state == RAN]
        answers: dict[Cell, list[dict[str, Array]]] = {}
        for cell in ran:
            held = self._ledger.answers(cell, self._version(cell))
            if held is not None:
                answers[cell] = held
        standard = self._standard(answers)
        if standard is None:
            return found
        accuracies: dict[Cell, Accuracy] = {}
        spoiled: dict[Cell, str] = {}
        for cell, held in answers.items():
            try:
                accuracies[cell] = accuracy_of(held, standard.answers, self._task.labels)
            except Incomparable as reason:
                spoiled[cell] = str(reason)
        return replace(found, accuracies=accuracies, spoiled=spoiled, reference=standard.cell, standard=standard)

    def _standard(self, answers: Mapping[Cell, Outputs]) -> Standard | None:
        """The reference's answers, else another machine's, else those of the first cell that ran."""
        task = self._task
        if task.reference not in answers and task.standard is not None:
            return task.standard
        chosen = next(iter([*(cell for cell in answers if cell.variant == PLAIN), *answers]), None)
        return None if chosen is None else Standard(cell=chosen, node=task.node, answers=answers[chosen])


def _merged(built: Measured, found: Measured) -> Measured:
    """What was measured with the compiled model at hand, and what compiling it took before."""
    if found.speed is None or found.footprint is None:
        return found
    return replace(
        found,
        speed=replace(found.speed, first_s=built.first_s, cached_first_s=found.speed.first_s),
        footprint=replace(found.footprint, build_s=built.build_s, cached=False),
    )
