"""Files that a scenario names, by their place in its folder: each is read, and each model fitted, only once.

SimulationsError, from whoever reads it, for a file that is not what it should be.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from simulations.radio.carrier import Direction
from simulations.radio.link_adaptation import Schemes
from simulations.traces.block_errors import read_block_errors
from simulations.traces.formats import ReadTrace, read_link_trace
from simulations.traces.markov import Likeness, MarkovModel, fit, likeness
from simulations.traces.places import Places, read_places
from simulations.traces.power_model import TDP_W, PowerModel, read_power_model

Read = TypeVar("Read")
TIMES = 10  # as long as its source is the trace by which a model's likeness is told


class Fitted(NamedTuple):
    """A model of a recorded trace, how far what it draws is from that, and how many gaps were cut out of it."""

    model: MarkovModel
    likeness: Likeness
    cut: int


class Files:
    """Those of one scenario."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[object, Any] = {}

    def link(self, name: str, direction: Direction) -> ReadTrace:
        """A recorded trace; refused for a direction of which it does not tell."""
        return self._once(("link", name, direction), lambda: read_link_trace(self.folder / name, direction))

    def like(self, name: str, direction: Direction) -> Fitted:
        """A model fitted to a recorded trace: the same for both directions, where it may stand for both."""
        source = self.link(name, direction)
        return self._once(("like", name), lambda: _fitted(source))

    def places(self, name: str, origin: tuple[float, float] | None) -> Places:
        """Places in metres from an origin, or from their own middle."""
        return self._once(("places", name, origin), lambda: read_places(self.folder / name, origin))

    def power(self, name: str, tdp_w: Mapping[str, float]) -> PowerModel:
        """What steps of models take on GPUs; `tdp_w`: design power of those whose own is not known, or another."""
        known = {**TDP_W, **tdp_w}
        return self._once(("power", name, *sorted(known.items())), lambda: read_power_model(self.folder / name, known))

    def block_errors(self, name: str) -> Schemes:
        """A table of schemes."""
        return self._once(("block errors", name), lambda: read_block_errors(self.folder / name))

    def _once(self, key: object, read: Callable[[], Read]) -> Read:
        if key not in self._read:
            self._read[key] = read()
        found: Read = self._read[key]
        return found


def _fitted(source: ReadTrace) -> Fitted:
    model = fit(source.trace)
    made = model.draw(TIMES * source.trace.length_s, np.random.default_rng(0))
    return Fitted(model, likeness(source.trace, made), source.cut)
