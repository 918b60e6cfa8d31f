"""The public names of isthmus, each loaded when it is first asked for.

    from isthmus import Client, Limits, Pipeline, load_model, plan_for, simulate

Importing this package alone loads neither an engine nor Ray; asking for a name first makes sure that no
stranger's module stands in for one of our packages (guard.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.planning import load_model, plan_for
    from isthmus.simulating import simulate
    from orchestrator.client import Client
    from orchestrator.pipeline_builder import Pipeline
    from partitioner.problem import Limits

__all__ = ["Client", "Limits", "Pipeline", "__version__", "load_model", "plan_for", "simulate"]

_HOMES = {
    "Client": "orchestrator.client",
    "Limits": "partitioner.problem",
    "Pipeline": "orchestrator.pipeline_builder",
    "load_model": "isthmus.planning",
    "plan_for": "isthmus.planning",
    "simulate": "isthmus.simulating",
}


def __getattr__(name: str) -> object:
    """Loads a public name (PEP 562); ForeignPackage if a package of ours is shadowed, else AttributeError."""
    if name == "__version__":
        from importlib.metadata import version

        return version("isthmus")
    if name not in _HOMES:
        raise AttributeError(f"isthmus has no public name {name!r}; it has {', '.join(__all__)}")
    from isthmus.guard import refuse_strangers

    refuse_strangers()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
