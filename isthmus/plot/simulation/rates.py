"""Which rates a time line shows: of cells by their radio, of wires by name, and a few words for the many others."""

from collections.abc import Mapping
from math import isfinite, nan
from statistics import median

from isthmus.plot.colours import OKABE_ITO
from isthmus.plot.simulation.panel import Line, Values
from isthmus.plot.svg import INK
from simulations.results import Outcome
from simulations.scenario import Scenario

MOST = 6  # lines with a colour each; more are not told apart
GREY = "#b8c2cc"
DASHES = (None, "7 3", "2 3", "9 3 2 3")


def cell_rates(scenario: Scenario, outcome: Outcome) -> tuple[list[Line], str]:
    """Mean uplink rate of a cell's users, each as if alone; of many cells all in grey and their median."""
    there = _there(outcome, {cell.name: f"{cell.name}.up_bits_per_s" for cell in scenario.cells})
    words = "uplink of a cell's users, each alone"
    if len(there) <= MOST:
        return _coloured(there), words
    grey = [Line(name="", values=values, colour=GREY, width=1.0) for values in there.values()]
    middle = [
        median(known) if (known := [value for value in column if isfinite(value)]) else nan
        for column in zip(*there.values(), strict=True)
    ]
    grey.append(Line(name=f"median of {len(there)} cells", values=middle, colour=INK, width=2.4))
    return grey, words


def wire_rates(scenario: Scenario, outcome: Outcome) -> tuple[list[Line], str]:
    """What wires carry at most, 0 while down; of many those that change, most of all those that fall lowest."""
    names = {f"{wire.source} → {wire.target}": f"{wire.source}→{wire.target}.bits_per_s" for wire in scenario.wires}
    there = _joined(_there(outcome, names))
    changing = {name: values for name, values in there.items() if max(values) > min(values)}
    if len(there) <= MOST:
        return _coloured(there), "wires"
    falls = sorted(changing, key=lambda name: min(changing[name]) / max(changing[name]))[:MOST]
    shown = {name: values for name, values in there.items() if name in falls}
    kept, more = len(there) - len(changing), len(changing) - len(shown)
    words = f"wires that change; {kept} keep their rates" if shown else f"all {kept} wires keep their rates"
    return _coloured(shown), words + (f"; {more} more change" if more else "")


def _there(outcome: Outcome, names: Mapping[str, str]) -> dict[str, Values]:
    return {name: outcome.series[key] for name, key in names.items() if outcome.series.get(key)}


def _joined(there: Mapping[str, Values]) -> dict[str, Values]:
    """Both directions of a wire as one where they are always alike."""
    found: dict[str, Values] = {}
    for name, values in there.items():
        source, target = name.split(" → ")
        back = f"{target} → {source}"
        if there.get(back) == values:
            if f"{target} ↔ {source}" not in found:
                found[f"{source} ↔ {target}"] = values
        else:
            found[name] = values
    return found


def _coloured(there: Mapping[str, Values]) -> list[Line]:
    """Later lines have gaps, so that those below them are seen where they are alike."""
    return [
        Line(name=name, values=values, colour=OKABE_ITO[number], dashes=DASHES[number % len(DASHES)])
        for number, (name, values) in enumerate(there.items())
    ]
