"""Refuses to start when one of our package names leads to somebody else's code.

Our packages have plain names, and Python looks into the caller's folder first: a user's own `nodes.py`
would be imported in place of ours and fail much later, far from its cause. It finds modules without
importing them, and moves or repairs nothing.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("partitioner", "policies", "nodes", "orchestrator", "simulations")
HOME = Path(__file__).resolve().parent.parent  # where our packages lie side by side


class ForeignPackage(ImportError):
    """A package of ours would come from, or was already imported from, somewhere else.

    `name` is the package and `path` the stranger's file or folder.
    """


def found_at(name: str) -> Path | None:
    """Where the package `name` was imported from or, if it was not yet, would be; None if nowhere."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        spec = getattr(module, "__spec__", None) or find_spec(name)
        if spec is None:
            return None
        file = spec.origin
        if file is None:  # a folder without __init__.py
            return Path(next(iter(spec.submodule_search_locations or ()), name)).resolve()
    path = Path(file).resolve()
    return path.parent if path.name == "__init__.py" else path


def refuse_strangers() -> None:
    """Raises ForeignPackage for the first of our packages that is not the one installed beside this file."""
    for name in PACKAGES:
        path = found_at(name)
        if path == HOME / name:
            continue
        if path is None:
            raise ForeignPackage(
                f"isthmus: its package {name!r} is missing from {HOME}: install isthmus again", name=name
            )
        raise ForeignPackage(
            f"isthmus: {path} stands in the way of isthmus' own package {name!r}: "
            f"rename it, or start from a folder that does not hold it",
            name=name,
            path=str(path),
        )
