"""What `isthmus select` is asked: values, and what can be seen to be wrong with them before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodes.selecting.energy import read_uj
from orchestrator.errors import SpecError
from orchestrator.selecting.forms import VARIANTS
from orchestrator.selecting.price import UTILISATION, YEARS
from orchestrator.selecting.ranking import GOALS
from partitioner.topology import Node

LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be compared, and what for. `nodes`: this machine stands for each of them; none: it is itself.

    With `remote` each node is measured on itself instead. Tuples that are empty mean all there is. Prices given here
    go before the nodes' own. `max_loss` is in percentage points of top-1 by `labels`.
    """

    model: Path
    data: Path | None = None
    labels: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    nodes: tuple[Node, ...] = ()
    remote: bool = False
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    variants: tuple[str, ...] = VARIANTS
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = (1, 2, 4, 8)
    goal: str = "latency"
    max_error: float = 0.01
    max_loss: float | None = None
    usd_per_hour: float | None = None
    purchase_usd: float | None = None
    years: float = YEARS
    utilisation: float = UTILISATION
    budget_s: float = 600.0
    fresh: bool = False


def check(asked: Asked) -> None:
    """SpecError for what can be seen to be wrong before anything is read or measured."""
    if not asked.model.is_file():
        raise SpecError(f"no file {asked.model}; give an ONNX model")
    if asked.goal not in GOALS:
        raise SpecError(f"no goal {asked.goal!r}; there are {', '.join(GOALS)}")
    if not 0 <= asked.max_error <= 1:
        raise SpecError(f"--max-error {asked.max_error:g}: should be from 0 to 1, a share of the largest output")
    if asked.usd_per_hour is not None and asked.purchase_usd is not None:
        raise SpecError("--usd-per-hour and --purchase-usd are both given; keep one")
    for node in asked.nodes:
        if not asked.remote and node.address is not None and node.address.rpartition(":")[0] not in LOCAL:
            raise SpecError(
                f"node {node.name} is at {node.address}, and select measures this machine only; give --address "
                "HOST:PORT of its cluster, or leave it out of --nodes"
            )
    _check_labels(asked)
    _check_goal(asked)


def _check_labels(asked: Asked) -> None:
    if asked.labels is not None and asked.data is None:
        raise SpecError(f"--labels {asked.labels}: labels of which samples? give them by --data")
    if asked.max_loss is not None and asked.labels is None:
        raise SpecError(f"--max-loss {asked.max_loss:g} is of top-1, which takes the samples' labels; give --labels")
    if asked.max_loss is not None and not 0 <= asked.max_loss <= 100:
        raise SpecError(f"--max-loss {asked.max_loss:g}: should be from 0 to 100 percentage points")


def _check_goal(asked: Asked) -> None:
    given = asked.usd_per_hour is not None or asked.purchase_usd is not None
    priced = given or any(node.usd_per_hour is not None or node.purchase_usd is not None for node in asked.nodes)
    if asked.goal == "cost" and not priced:
        raise SpecError("--goal cost needs a price: give --usd-per-hour, --purchase-usd, or nodes that have one")
    counted = asked.remote or read_uj()  # whether a node can read its own is seen there
    if asked.goal == "energy" and not counted and not any(node.active_w is not None for node in asked.nodes):
        raise SpecError(
            "--goal energy: this machine has no RAPL counters that can be read; give nodes with active_w by --topology"
        )
