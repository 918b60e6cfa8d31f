"""`isthmus select`: engines and precisions side by side, measured, with a recommendation. Nothing is deployed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from rich.markup import escape

from isthmus.comparison_tables import notes, speed_table, takes_table
from isthmus.terminal import console, fail, note, progress, show, show_json
from nodes.selecting.cells import RAN
from orchestrator.errors import SpecError
from orchestrator.selecting.asked import Asked, check
from orchestrator.selecting.comparison import Comparison, compare, comparison_to_json
from orchestrator.topology_spec import load_topology
from partitioner.topology import Node

DEFAULT_ERROR = 0.01


def asked_of(
    model: Path,
    *,
    topology: Path | None,
    address: str | None,
    nodes: str | None,
    max_error: float | None,
    max_loss: float | None,
    backends: str | None,
    precisions: str | None,
    variants: str,
    threads: str | None,
    batches: str,
    shapes: Sequence[str],
    **rest: Any,
) -> Asked:
    """The question that options mean; `rest` are those of `Asked` as they are. SpecError for what can't be meant."""
    return Asked(
        model=model,
        nodes=_nodes(topology, address, nodes),
        max_error=_max_error(max_error, max_loss),
        max_loss=max_loss,
        backends=_names(backends),
        precisions=_names(precisions),
        variants=_names(variants),
        threads=_counts("--threads", threads or ""),
        batches=_counts("--batches", batches),
        shapes=dict(_shape(text) for text in shapes),
        **rest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where to measure instead of here: a Ray head, NAME,NAME of its nodes, its hand-started workers' token."""

    address: str
    nodes: str | None = None
    token_file: Path | None = None


def print_comparison(asked: Asked, plot: Path | None, there: Cluster | None = None, *, as_json: bool) -> None:
    """Compare, draw and print. Exit 1 if nothing ran, or nothing keeps the error asked for."""
    if there is None:
        check(asked)
    if plot is not None and plot.suffix != ".svg":
        raise SpecError(f"--plot {plot}: an SVG is drawn; name a file that ends in .svg")
    with progress("measuring"):
        found = compare(asked, clock=monotonic, say=note) if there is None else _compare_there(asked, there)
    if plot is not None:
        _draw(plot, found)
    if as_json:
        show_json(comparison_to_json(found))
    else:
        console.print(speed_table(found), crop=False)
        console.print(takes_table(found), crop=False)
        for line in notes(found):
            show(escape(line))
        if plot is not None:
            show(f"  drawn in {plot}")
    if found.choice.row is None:
        ran = any(row.state == RAN for row in found.rows)
        why = found.choice.reason if ran else f"nothing ran: {found.rows[0].reason if found.rows else 'no engine'}"
        fail(f"nothing to recommend: {why}")


def _compare_there(asked: Asked, there: Cluster) -> Comparison:
    from isthmus.verbs.cluster import _token
    from orchestrator.selecting.cluster import compare_there

    token = None if there.token_file is None else _token(there.token_file)
    return compare_there(asked, there.address, _names(there.nodes), token=token, clock=monotonic, say=note)


def _max_error(max_error: float | None, max_loss: float | None) -> float:
    """What is lost of the task says more than what is lost of the numbers, so that alone bounds nothing then."""
    if max_error is not None:
        return max_error
    return DEFAULT_ERROR if max_loss is None else 1.0


def _draw(plot: Path, found: Any) -> None:
    from isthmus.plot.trade_off import trade_off_svg

    try:
        plot.write_text(trade_off_svg(found), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {plot}: {error.strerror}") from None


def _nodes(topology: Path | None, address: str | None, names: str | None) -> tuple[Node, ...]:
    if topology is None:
        if names and address is None:
            raise SpecError(f"--nodes {names}: nodes of which topology? give it by --topology, or --address")
        return ()
    known = load_topology(topology).by_name
    for name in _names(names):
        if name not in known:
            raise SpecError(f"--nodes: no node {name!r}; nodes are {', '.join(known)}")
    return tuple(known[name] for name in _names(names) or known)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _counts(option: str, text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(one) for one in _names(text)}))
    except ValueError:
        counts = (0,)
    if any(one < 1 for one in counts):
        raise SpecError(f"{option} {text}: should be whole numbers from 1 up, as 1,2,4")
    return counts


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, value = text.partition("=")
    try:
        shape = tuple(int(part) for part in value.replace("x", ",").split(",") if part)
    except ValueError:
        shape = ()
    if not equals or not shape:
        raise SpecError(f"--shape {text}: should be NAME=1,3,224,224")
    return name, shape
