"""A user's own rule for when to leave a plan, from a file: in the live control core, in place of policies.rebalance.

The scenario names it as `my_rules.py:greedy`. It is called as policies.rebalance.Rule says, with known plans as
Candidates, and answers with Keep or Switch from the same module. It must decide by what it is given alone: a clock or
lots of its own would make runs differ.
"""

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb

from orchestrator.errors import SpecError
from policies.rebalance import Candidate, Keep, Rule, Switch
from simulations.errors import SimulationsError


def read_rule(named: str, folder: Path) -> Rule:
    """The function of `FILE.py:FUNCTION`, the file beside the scenario's. SpecError for what is none.

    The file's code is run. What the function answers is checked each time: SimulationsError.
    """
    file, _, name = named.rpartition(":")
    path = folder / file
    if path.suffix != ".py" or not name:
        raise SpecError(f"{named!r} is no FILE.py:FUNCTION")
    if not path.is_file():
        raise SpecError(f"{path}: no such file")
    spec = spec_from_file_location(f"isthmus_rule_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses, for one, look for it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever its author's code raises
        raise SpecError(f"{path}: {_told(error, path)}") from None
    rule = getattr(module, name, None)
    if not callable(rule):
        raise SpecError(f"{path} has no function {name!r}")
    return checked(rule, named, path)


def checked(rule: Rule, named: str, path: Path) -> Rule:
    """The same; SimulationsError if it raises, or answers with anything but Keep or Switch to one that it was given."""

    def judge(
        *, current: Candidate, others: Sequence[Candidate], allowed_in_s: float, min_gain: float
    ) -> Keep | Switch:
        try:
            found = rule(current=current, others=others, allowed_in_s=allowed_in_s, min_gain=min_gain)
        except Exception as error:
            raise SimulationsError(f"policy.rule: {named}: {_told(error, path)}") from error
        if isinstance(found, Keep) or (isinstance(found, Switch) and any(found.to == one.key for one in others)):
            return found
        raise SimulationsError(
            f"policy.rule: {named} answered {found!r}; it wants Keep, or Switch to the key of one of the others"
        )

    return judge


def _told(error: Exception, path: Path) -> str:
    """What was raised, and in which line of the author's file, if that is known."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == path]
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
