"""Options that a node may give any of its engines, since they are the stage's: how many threads, how many requests.

The engine is compiled with what is left; what that means is the engine's own to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nodes.backend import Option
from nodes.errors import CompileError

FREE_ROWS = ("onnxruntime", "onnxruntime-cuda", "openvino", "mnn")  # engines that take any number of rows, as they come
FIXED_ROWS = "io_binding"  # an option that wants the shapes fixed
STAGE_OPTIONS = {
    "threads": "fewer threads than the node has, where those would only be in each other's way",
    "batch": "how many waiting requests may share a run; where the engine and the stage take free rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """How a stage runs, and what its engine is compiled with."""

    threads: int
    batch: int
    engine: Mapping[str, Option]


def takes_free_rows(backend: str, options: Mapping[str, Option]) -> bool:
    """Whether runs of this engine may have any number of rows."""
    return backend in FREE_ROWS and not options.get(FIXED_ROWS)


def stage_options(backend: str, given: Mapping[str, Option], *, threads: int) -> StageOptions:
    """The options of a node's engine taken apart; `threads` are the node's. CompileError for what is no count."""
    return StageOptions(
        threads=_count(backend, given, "threads", threads),
        batch=_count(backend, given, "batch", 1),
        engine={name: value for name, value in given.items() if name not in STAGE_OPTIONS},
    )


def _count(backend: str, given: Mapping[str, Option], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CompileError(f"{backend}: option {name} is {value!r}, must be a whole number from 1 up")
    return value
