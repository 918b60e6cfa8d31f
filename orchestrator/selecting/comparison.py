"""`isthmus select` without its command line: a model and what is wanted in, rows with a recommendation out."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nodes.selecting.asking import Ask, ask
from nodes.selecting.cells import Cell
from nodes.selecting.exchange import save_tensors
from nodes.variants.calibration import digest
from orchestrator.cache_folder import cache_folder
from orchestrator.errors import SpecError
from orchestrator.model_file import ReadyModel, declared_inputs, prepare
from orchestrator.selecting.asked import Asked, check
from orchestrator.selecting.campaign import REFERENCE_BACKEND, Findings
from orchestrator.selecting.cells import Row, row_to_json
from orchestrator.selecting.engines import check_precisions
from orchestrator.selecting.forms import forms_of
from orchestrator.selecting.labels import check_scores
from orchestrator.selecting.parts import HERE, Common, Machine, Met, Part, measure_part, meet
from orchestrator.selecting.ranking import AXES, Bound, Choice, choose, pareto
from orchestrator.selecting.rows import ordered
from orchestrator.selecting.samples import Samples, load_samples, samples_of
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.topology import Node, Tier, Topology

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows, those of them that no other beats on the `axes`, and the choice.

    `data` says what the samples were, `prices` what each node's dollars are of. `findings` and `machines` are by
    machine: "here", or the nodes on which was measured.
    """

    asked: Asked
    rows: tuple[Row, ...]
    front: tuple[Row, ...]
    choice: Choice
    findings: Mapping[str, Findings]
    machines: Mapping[str, str]
    data: str
    labels: int = 0  # how many rows of scores were held against
    prices: tuple[tuple[str, str], ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """What the front is of."""
        return AXES[self.asked.goal]

    @property
    def machine(self) -> str:
        """The machines in one line."""
        return "; ".join(self.machines.values())

    @property
    def resumed(self) -> int:
        """How many cells were known from before."""
        return sum(found.resumed for found in self.findings.values())

    @property
    def reference_told(self) -> str:
        """What errors are against, said where it is not what it should be."""
        told = {name: _reference_told(found, name) for name, found in self.findings.items()}
        if len(set(told.values())) == 1:
            return next(iter(told.values()))
        return "; ".join(f"{words} for {name}" for name, words in told.items())


def _reference_told(found: Findings, name: str) -> str:
    if found.reference is None:
        return "nothing gave an answer to compare with"
    if found.reference.backend != REFERENCE_BACKEND:
        return f"{found.reference.name}, as {REFERENCE_BACKEND} did not run"
    node = "" if found.standard is None else found.standard.node
    return found.reference.name if node in ("", name) else f"{found.reference.name} on {node}"


def compare(
    asked: Asked,
    *,
    clock: Callable[[], float],
    say: Say,
    ask_process: Ask = ask,
    machines: Sequence[Machine] = (),
) -> Comparison:
    """Measure what is not known yet and choose. SpecError, BadInput or InvalidModel, in one line, for bad input.

    `machines` are the nodes of a cluster, each to be measured on itself; none: this machine stands for them.
    """
    check(asked)
    begun_s = clock()
    ready, samples = _prepared(asked)
    met = [meet(one, asked) for one in machines or (Machine(name=HERE, ask=ask_process, nodes=asked.nodes),)]
    check_precisions(asked.precisions, {name: told for one in met for name, told in one.engines.items()})
    root = cache_folder() / "select" / ready.sha256[:16]
    forms, impossible = forms_of(ready.path, asked.variants, samples.calibration, asked.batches, root, say)
    with tempfile.TemporaryDirectory(prefix="isthmus-select-") as scratch:
        common = Common(
            forms=forms,
            impossible=impossible,
            samples=Path(scratch) / "samples.npz",
            about={"model": ready.sha256, "data": digest(samples.judged)},
            folder=root / "measured",
            labels=samples.labels,
        )
        save_tensors(common.samples, samples.judged)
        parts = _measured(met, asked, common, end_s=begun_s + asked.budget_s, clock=clock, say=say)
    return _concluded(asked, parts, samples)


def _measured(
    met: Sequence[Met], asked: Asked, common: Common, *, end_s: float, clock: Callable[[], float], say: Say
) -> list[Part]:
    """One machine after the other, each with its share of the time; first those that have the reference."""
    several, standard, found = len(met) > 1, None, {}
    for index, one in enumerate(sorted(met, key=lambda one: not one.has_reference)):
        name = one.machine.name
        found[name] = part = measure_part(
            one,
            asked,
            common,
            budget_s=max(0.0, (end_s - clock()) / (len(met) - index)),
            standard=standard,
            clock=clock,
            say=partial(_say_of, name, say) if several else say,
        )
        standard = standard or part.findings.standard
    return [found[one.machine.name] for one in met]


def _say_of(name: str, say: Say, words: str) -> None:
    say(f"{name}: {words}")


def _concluded(asked: Asked, parts: Sequence[Part], samples: Samples) -> Comparison:
    rows = ordered([row for part in parts for row in part.rows])
    noise = max(part.findings.noise for part in parts)
    bound = Bound(max_error=asked.max_error, max_loss=asked.max_loss)
    return Comparison(
        asked=asked,
        rows=rows,
        front=pareto(rows, AXES[asked.goal]),
        choice=choose(rows, goal=asked.goal, bound=bound, noise=noise),
        findings={part.met.machine.name: part.findings for part in parts},
        machines={part.met.machine.name: part.met.label for part in parts},
        data=samples.told,
        labels=len(samples.labels or ()),
        prices=tuple(price for part in parts for price in part.prices),
    )


def _prepared(asked: Asked) -> tuple[ReadyModel, Samples]:
    """The normalised model, and samples of every input; BadInput for data that does not fit."""
    shapes, declared = asked.shapes or {}, declared_inputs(asked.model)
    names = [spec.name for spec in declared]
    if unknown := [name for name in shapes if name not in names]:
        raise SpecError(f"{asked.model} has no input {unknown[0]!r}; it has {', '.join(names)}")
    is_open = any(None in spec.shape and spec.name not in shapes for spec in declared)
    if asked.data is not None and is_open:
        load_samples(asked.data, declared)  # what is wrong with it is told better before the model is normalised by it
    fixing = asked.data if is_open else None
    inputs = tuple(InputSpec(name=name, at="here", shape=shapes.get(name), samples=fixing) for name in names)
    here = Topology((Node(name="here", tier=Tier.DEVICE, backends=(REFERENCE_BACKEND,)),))
    ready = prepare(
        DeploymentSpec(name=asked.model.stem, model=asked.model, topology=here, source="here", inputs=inputs)
    )
    samples = samples_of(asked.data, ready.inputs, asked.labels)
    if asked.labels is not None and samples.labels is not None:
        check_scores(asked.labels, samples.labels, len(samples.judged), load(ready.path).graph)
    return ready, samples


def comparison_to_json(found: Comparison) -> dict[str, Any]:
    """The comparison as plain values; a figure that isn't known is null."""
    front, chosen = set(map(id, found.front)), found.choice.row
    return {
        "model": str(found.asked.model),
        "machines": dict(found.machines),
        "data": found.data,
        "goal": found.asked.goal,
        "max_error": found.asked.max_error,
        "max_loss": found.asked.max_loss,
        "labels": found.labels,
        "axes": list(found.axes),
        "reference": {name: _reference_to_json(name, one) for name, one in found.findings.items()},
        "prices": dict(found.prices),
        "resumed": found.resumed,
        "rows": [{**row_to_json(row), "pareto": id(row) in front, "recommended": row is chosen} for row in found.rows],
        "recommendation": None
        if chosen is None
        else {"node": chosen.node, "cell": chosen.cell.name, **_setting(chosen.cell)},
        "reason": found.choice.reason,
    }


def _reference_to_json(name: str, found: Findings) -> dict[str, Any]:
    cell = None if found.reference is None else _reference_told(found, name)
    return {"cell": cell, "p50_s": list(found.again_s), "spread": found.noise}


def _setting(cell: Cell) -> dict[str, Any]:
    return {
        "backend": cell.backend,
        "precision": cell.precision,
        "threads": cell.threads,
        "variant": cell.variant,
        "options": dict(cell.options),
    }
