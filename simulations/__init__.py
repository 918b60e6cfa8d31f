"""The planner, the control core and the policies that run live, under simulated time and over simulated radio.

    import simulations
    results = simulations.run(simulations.load_scenario("one-cell"))

Both names are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulations.running import run
    from simulations.scenario_file import load_scenario

__all__ = ["load_scenario", "run"]

_HOMES = {"load_scenario": "simulations.scenario_file", "run": "simulations.running"}


def __getattr__(name: str) -> object:
    """Loads a public name (PEP 562); AttributeError for any other."""
    if name not in _HOMES:
        raise AttributeError(f"simulations has no public name {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
