"""A simulated figure as people read it: in a unit that fits, and as many digits as its interval bears."""

from math import floor, isnan, log10

from simulations.statistics import Estimate

UNKNOWN = "–"
SCALES = {
    "_s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "_j": ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ")),
    "_bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}
SHARES = ("_share", ".utilisation", "_load")
DIGITS = 4  # significant ones at most: intervals can be ever so narrow
LEAST = 1e-9  # less than this, of a unit's own, is rounding


def told(figure: str, found: Estimate, *, sign: bool = False) -> str:
    """Such as "155.4 ± 2.1 ms"; "155 ms" without an interval; with a note if replications lack the figure."""
    if isnan(found.mean):
        return UNKNOWN
    scale, unit = _unit(figure, max(abs(found.mean), found.half or 0.0))
    text = _number(found.mean / scale, None if found.half is None else found.half / scale, "+" if sign else "")
    lacks = f" ({found.counted} of {found.counted + found.left_out})" if found.left_out else ""
    return f"{text} {unit}".rstrip() + lacks


def _number(mean: float, half: float | None, sign: str) -> str:
    """Two digits of the interval, of the mean as many places but DIGITS in all; three of it without an interval."""
    size = max(abs(mean), half or 0.0)
    most = DIGITS - 1 - floor(log10(size)) if size > LEAST else 0
    if half is not None and half > LEAST and (places := 1 - floor(log10(half))) <= most:
        places = max(places, 0)
        return f"{round(mean, places) + 0.0:{sign},.{places}f} ± {half:,.{places}f}"
    places = max(most - (half is None), 0)
    text = f"{round(mean, places) + 0.0:{sign if round(mean, places) else ''},.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if half is None else f"{text} ± 0"


def _unit(figure: str, size: float) -> tuple[float, str]:
    if figure.endswith("_per_s"):
        return 1.0, "/s"
    if figure.endswith("_usd"):
        return 1.0, "$"
    if figure.endswith(SHARES):
        return 1e-2, "%"
    for ending, scales in SCALES.items():
        if figure.endswith(ending):
            fitting = [each for each in scales if size >= each[0] * 0.9995]
            return (
                fitting[0]
                if fitting
                else scales[-1]
                if size > LEAST
                else next(each for each in scales if each[0] == 1.0)
            )
    return 1.0, ""
