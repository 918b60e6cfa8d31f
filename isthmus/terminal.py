"""How every command speaks: results on stdout (or one JSON object), progress on a terminal only, one line of error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console, RenderableType

from isthmus.zoo.errors import ZooError
from nodes.errors import NodesError
from orchestrator.errors import OrchestratorError
from partitioner.errors import PartitionerError
from simulations.errors import SimulationsError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
REFUSALS = (PartitionerError, NodesError, OrchestratorError, SimulationsError, ZooError)


def show(renderable: RenderableType) -> None:
    """Print a result for people."""
    console.print(renderable, soft_wrap=isinstance(renderable, str))


def show_json(value: Any) -> None:
    """Print the one JSON object of a `--json` run."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def fail(message: str) -> NoReturn:
    """One clear line on stderr, exit 1."""
    sys.stderr.write(f"isthmus: {' '.join(message.split())}\n")
    sys.exit(1)


def warn(message: str) -> None:
    """One line on stderr about what was asked for and will not be had; nothing stops."""
    sys.stderr.write(f"isthmus: {' '.join(message.split())}\n")


def note(message: str) -> None:
    """A word of progress on a terminal, nothing in a pipe."""
    if errors.is_terminal:
        errors.print(f"  {message}", style="dim")


@contextmanager
def progress(what: str) -> Iterator[None]:
    """A spinner on a terminal, nothing in a pipe."""
    if errors.is_terminal:
        with errors.status(what):
            yield
    else:
        yield
