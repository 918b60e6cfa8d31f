"""Where one request's time goes: a bar from its start to its answer, stages in their nodes' colours.

Only for plans in which one thing happens after the other.
"""

from collections.abc import Mapping

from isthmus.plot import units
from isthmus.plot.colours import ink_on
from isthmus.plot.svg import FAINT, INK, rect, text, text_width
from partitioner.plan import ROUTER, Plan

HEIGHT, WAITING = 24.0, "#dfe3e8"


def time_bar(plan: Plan, colours: Mapping[str, str], left: float, top: float, width: float) -> list[str]:
    """The bar; a span's words stand in it where they fit, and else only where a pointer rests."""
    spans = _spans(plan, colours)
    total_s = sum(seconds for _, seconds, _ in spans)
    if plan.parallel or total_s <= 0:
        return []
    parts, x = [text(left, top - 6, "one request, from start to answer", size=11, fill=FAINT)], left
    for words, seconds, colour in spans:
        wide = width * seconds / total_s
        told = f"{words} {units.seconds(seconds)}"
        parts.append(rect(x, top, wide, HEIGHT, fill=colour, stroke="#ffffff", stroke_width=0.8, told=told))
        fitting = next((one for one in (told, units.seconds(seconds)) if text_width(one, 11) + 10 < wide), None)
        if fitting is not None:
            parts.append(text(x + wide / 2, top + 16, fitting, size=11, anchor="middle", fill=ink_on(colour)))
        x += wide
    parts.append(text(left + width, top - 6, units.seconds(total_s), size=11, anchor="end", fill=INK))
    return parts


def _spans(plan: Plan, colours: Mapping[str, str]) -> list[tuple[str, float, str]]:
    """Words, seconds and colour, in the order of a request; answers come last."""
    stages = {stage.name: stage for stage in plan.stages}
    arriving: dict[str, list[tuple[str, float, str]]] = {}
    for one in plan.crossings:
        way = f"{one.source} → {one.target}" if one.source != one.target else f"within {one.source}"
        arriving.setdefault(one.receiver, []).append((way, one.seconds, WAITING))
    spans: list[tuple[str, float, str]] = []
    for name, stage in stages.items():
        spans += [*arriving.get(name, ()), (stage.node, stage.seconds, colours[stage.node])]
    return [*spans, *arriving.get(ROUTER, ())]
