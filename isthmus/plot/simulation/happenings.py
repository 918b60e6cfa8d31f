"""What happened when: a scenario's changes in words, both directions of a wire as one, and switches of plans."""

from collections.abc import Iterable, Sequence

from isthmus.plot import units
from simulations.results import Note
from simulations.scenario import Change

Happening = tuple[float, str]  # seconds, words


def clock(at_s: float) -> str:
    """A time of the simulation: "30 s", from ten minutes on "16:40" or "1:05:10"; before its start it is negative."""
    if abs(at_s) < 600:
        return f"{round(at_s, 2):g} s"
    whole = round(abs(at_s))
    hours, rest = divmod(whole, 3600)
    told = f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"-{told}" if at_s < 0 else told


def changes_told(changes: Sequence[Change]) -> list[Happening]:
    """The time line of a scenario, ascending; what happens at the same time is one entry."""
    found: dict[float, list[str]] = {}
    every = {(change.at_s, _words(change)) for change in changes}
    for change in changes:
        told = found.setdefault(change.at_s, [])
        words = _words(change)
        if change.wire is not None and (change.at_s, back := _words(_turned(change))) in every:
            # The direction that comes first names the wire; the other one adds nothing.
            both = (words.replace(" → ", " ↔ ", 1), back.replace(" → ", " ↔ ", 1))
            words = both[1] if both[1] in told else both[0]
        if words not in told:
            told.append(words)
    return [(at_s, "; ".join(told)) for at_s, told in sorted(found.items())]


def _turned(change: Change) -> Change:
    assert change.wire is not None
    return Change(
        at_s=change.at_s, wire=(change.wire[1], change.wire[0]), bits_per_s=change.bits_per_s,
        propagation_s=change.propagation_s, is_up=change.is_up,
    )  # fmt: skip


def _words(change: Change) -> str:
    if change.wire is not None:
        name = " → ".join(change.wire)
        if not change.is_up:
            return f"{name} is down"
        what = [] if change.bits_per_s is None else [units.mbps(change.bits_per_s / 8)]
        what += [] if change.propagation_s is None else [f"{units.seconds(change.propagation_s)} one way"]
        return f"{name}: {', '.join(what)}" if what else f"{name} is up"
    if change.node is not None:
        return f"{change.node} is {'back' if change.is_up else 'lost'}"
    times = units.digits(change.times)
    return f"{change.group} ask at their rate" if change.times == 1 else f"{change.group} ask at {times} × their rate"


def switches_told(notes: Iterable[Note]) -> list[Happening]:
    """Switches from the start of the simulation on; the first plans, taken up before it, are none."""
    return [(note.at_s, f"{note.deployment}: {note.why}") for note in notes if note.what == "switch" and note.at_s >= 0]
