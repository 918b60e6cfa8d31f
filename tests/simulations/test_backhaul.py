"""Wires: their transfers share the rate, propagation takes none of it, and what is down holds what it has."""

from collections.abc import Callable

import numpy as np
import pytest

from simulations.backhaul import Backhaul, Line
from simulations.engine import Engine
from simulations.errors import OutOfRange
from simulations.scenario import Wire

MANY, BATCHES = 20_000, 40
MBIT = 1e6


def wire(source: str, target: str, mbps: float = 1.0, propagation_s: float = 0.0) -> Wire:
    return Wire(source=source, target=target, bits_per_s=mbps * MBIT, propagation_s=propagation_s)


def spent(work: np.ndarray, load: float, draw: np.random.Generator) -> np.ndarray:
    """How long each message of so much work (1: a second alone) is on a line that is so loaded."""
    engine, at_s, found = Engine(), np.cumsum(draw.exponential(1 / load, len(work))), np.full(len(work), np.nan)
    backhaul = Backhaul(engine, [wire("a", "b")])
    line = backhaul.lines["a", "b"]

    def leave(number: int) -> None:
        found[number] = engine.now_s - at_s[number]

    def come(number: int) -> None:
        backhaul.send(line, float(work[number]) * MBIT, leave, number)
        if number + 1 < len(work):
            engine.at(float(at_s[number + 1]), come, number + 1)

    engine.at(float(at_s[0]), come, 0)
    engine.run()
    line.shared.held.settle()
    assert line.shared.held.there_s == pytest.approx(found.sum(), rel=1e-9)  # Little
    assert line.carried_bytes == pytest.approx(work.sum() * MBIT / 8)
    return found


@pytest.mark.parametrize("scv", [0, 1, 4])
def test_messages_share_a_line_whatever_their_sizes(scv: float) -> None:
    draw = np.random.default_rng(round(scv) + 1)
    work = draw.gamma(1 / scv, scv, MANY) if scv else np.ones(MANY)
    found = spent(work, 0.6, draw)
    means = found.reshape(BATCHES, -1).mean(axis=1)
    assert found.mean() == pytest.approx(1 / (1 - 0.6), abs=4 * means.std(ddof=1) / np.sqrt(BATCHES))


def test_a_message_takes_as_many_times_longer_as_the_load_says_large_or_small() -> None:
    draw = np.random.default_rng(5)
    work = np.where(draw.random(MANY) < 0.5, 0.2, 1.8)
    slowed = spent(work, 0.5, draw) / work
    for size in (0.2, 1.8):
        some = slowed[work == size]
        means = np.array([one.mean() for one in np.array_split(some, BATCHES)])
        assert some.mean() == pytest.approx(2.0, abs=4 * means.std(ddof=1) / np.sqrt(BATCHES))


def sent(backhaul: Backhaul, engine: Engine, way: tuple[Line, ...], bits: float, ended: list[float]) -> None:
    """Carry a message as requests.py does: wire by wire, each wire's propagation after its last bit."""

    def hop(at: int) -> None:
        if at == len(way):
            ended.append(engine.now_s)
        else:
            backhaul.send(way[at], bits, lambda: engine.after(way[at].propagation_s, hop, at + 1))

    hop(0)


def test_propagation_takes_none_of_the_rate() -> None:
    engine, ended = Engine(), list[float]()
    backhaul = Backhaul(engine, [wire("a", "b", 1.0, 10.0), wire("b", "c", 2.0, 0.5)])
    way = backhaul.way("a", "c")
    assert way is not None and len(way) == 2
    for number in range(5):  # each has the wire to itself, though five are under way at once
        engine.at(float(number), sent, backhaul, engine, way, MBIT, ended)
    engine.run()
    assert ended == pytest.approx([12.0 + number for number in range(5)])
    assert way[0].shared.held.busy_s == pytest.approx(5.0)


def test_the_way_is_the_one_that_is_fastest_for_a_large_message() -> None:
    backhaul = Backhaul(Engine(), [wire("a", "c", 1.0), wire("a", "b", 100.0, 0.01), wire("b", "c", 100.0, 0.01)])
    way = backhaul.way("a", "c")
    assert way is not None and [line.wire.target for line in way] == ["b", "c"]
    assert (backhaul.way("a", "a"), backhaul.way("c", "a"), backhaul.way("a", "elsewhere")) == ((), None, None)


def cut(backhaul: Backhaul, is_up: bool) -> Callable[[], None]:
    return lambda: backhaul.change(("a", "b"), bits_per_s=None, propagation_s=None, is_up=is_up)


def test_a_wire_that_is_down_holds_its_messages_and_new_ones_take_another_way() -> None:
    engine, ended = Engine(), list[float]()
    backhaul = Backhaul(engine, [wire("a", "b"), wire("a", "c", 0.5), wire("c", "b", 0.5)])
    direct = backhaul.way("a", "b")
    assert direct is not None and len(direct) == 1
    backhaul.send(direct[0], 4 * MBIT, lambda: ended.append(engine.now_s))
    engine.at(1.0, cut(backhaul, False))
    engine.at(8.0, cut(backhaul, True))
    engine.run(5.0)
    around = backhaul.way("a", "b")
    assert around is not None and [line.wire.target for line in around] == ["c", "b"]
    assert direct[0].free_bits_per_s == 0
    engine.run()
    assert ended == pytest.approx([11.0])  # a second before the cut, three after it
    assert backhaul.way("a", "b") == direct


def test_where_no_other_way_is_there_is_none() -> None:
    backhaul = Backhaul(Engine(), [wire("a", "b")])
    cut(backhaul, False)()
    assert backhaul.way("a", "b") is None
    with pytest.raises(OutOfRange, match="no wire b → a"):
        backhaul.change(("b", "a"), bits_per_s=1.0, propagation_s=None, is_up=True)


def test_a_changed_wire_is_another_from_now_on() -> None:
    engine, ended = Engine(), list[float]()
    backhaul = Backhaul(engine, [wire("a", "b")])
    line = backhaul.lines["a", "b"]
    sent(backhaul, engine, (line,), 3 * MBIT, ended)
    engine.at(1.0, lambda: backhaul.change(("a", "b"), bits_per_s=4 * MBIT, propagation_s=0.25, is_up=True))
    engine.run()
    assert ended == pytest.approx([1.75])
    assert line.free_bits_per_s == 4 * MBIT


def test_one_more_is_told_of_the_share_that_others_left_of_late() -> None:
    engine = Engine()
    backhaul = Backhaul(engine, [wire("a", "b")])
    line = backhaul.lines["a", "b"]
    for _ in range(2):
        backhaul.send(line, 3 * MBIT, lambda: None)  # two share for 6 s
    engine.run(12.0)
    line.look(engine.now_s)
    assert line.others == pytest.approx(1.0) and line.free_bits_per_s == pytest.approx(MBIT / 2)
    engine.run(20.0)
    line.look(engine.now_s)
    assert line.free_bits_per_s == MBIT
