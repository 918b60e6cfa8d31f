"""Queues and shared rates against Lindley's recursion and the published results of queueing theory.

Means are held at four standard deviations, with fixed seeds; identities to the digit.
"""

from collections.abc import Callable

import numpy as np
import pytest

from simulations.engine import Engine
from simulations.errors import OutOfRange
from simulations.radio.path_loss import Floats
from simulations.stations import Queue, Shared

MANY = 60_000
Submit = Callable[..., object]


def sojourns(engine: Engine, submit: Submit, at_s: Floats, work: Floats) -> Floats:
    """How long each arrival is there; NaN for one that was refused."""
    spent_s = np.full(len(at_s), np.nan)

    def leave(number: int) -> None:
        spent_s[number] = engine.now_s - at_s[number]

    def come(number: int) -> None:
        submit(float(work[number]), leave, number)
        if number + 1 < len(at_s):
            engine.at(float(at_s[number + 1]), come, number + 1)

    engine.at(float(at_s[0]), come, 0)
    engine.run()
    return spent_s


def poisson(per_s: float, many: int = MANY, seed: int = 1) -> tuple[Floats, np.random.Generator]:
    draw = np.random.default_rng(seed)
    return np.cumsum(draw.exponential(1 / per_s, many)), draw


def waits_sd(load: float, many: int) -> float:
    """Standard deviation of the mean of so many waits in M/M/1 with service rate 1."""
    return float(np.sqrt(load * (2 + 5 * load - 4 * load**2 + load**3) / ((1 - load) ** 4 * many)))


def test_one_server_is_lindley_s_recursion_to_the_digit() -> None:
    at_s, draw = poisson(0.8, 5000)
    work = draw.gamma(0.5, 2.0, len(at_s))
    engine = Engine()
    spent_s = sojourns(engine, Queue(engine).submit, at_s, work)
    wait_s, wanted = 0.0, []
    for number, gap_s in enumerate(np.diff(at_s, append=0.0)):
        wanted.append(wait_s + work[number])
        wait_s = max(0.0, wait_s + work[number] - gap_s)
    assert spent_s == pytest.approx(np.array(wanted), abs=1e-9)


def test_mm1_waits_as_long_as_the_formula_says() -> None:
    at_s, draw = poisson(0.7)
    engine = Engine()
    spent_s = sojourns(engine, Queue(engine).submit, at_s, draw.exponential(1.0, MANY))
    assert spent_s.mean() == pytest.approx(3.3333, abs=4 * waits_sd(0.7, MANY))
    assert np.quantile(spent_s, 0.99) == pytest.approx(15.3506, rel=0.12)


@pytest.mark.parametrize(("servers", "load", "wait_s"), [(2, 0.7, 0.960784), (4, 0.8, 0.745541), (8, 0.9, 0.876916)])
def test_several_servers_wait_as_erlang_c_says(servers: int, load: float, wait_s: float) -> None:
    at_s, draw = poisson(servers * load, MANY)
    work = draw.exponential(1.0, MANY)
    engine = Engine()
    waits_s = sojourns(engine, Queue(engine, servers).submit, at_s, work) - work
    batches = waits_s.reshape(60, -1).mean(axis=1)
    assert waits_s.mean() == pytest.approx(wait_s, abs=4 * batches.std() / np.sqrt(60))


def test_deterministic_work_waits_half_as_long() -> None:
    at_s, _ = poisson(0.7)
    engine = Engine()
    waits_s = sojourns(engine, Queue(engine).submit, at_s, np.ones(MANY)) - 1
    assert waits_s.mean() == pytest.approx(1.16667, abs=4 * waits_sd(0.7, MANY) / 2)


def test_without_room_as_many_are_refused_as_erlang_b_says() -> None:
    at_s, draw = poisson(8.0)
    engine = Engine()
    queue = Queue(engine, 10, room=0)
    spent_s = sojourns(engine, queue.submit, at_s, draw.exponential(1.0, MANY))
    refused = np.isnan(spent_s).mean()
    assert refused == pytest.approx(0.121661, abs=4 * 3 * np.sqrt(0.1217 * 0.8783 / MANY))
    assert queue.held.refused == np.isnan(spent_s).sum()


def test_a_finite_queue_blocks_and_delays_as_the_formula_says() -> None:
    at_s, draw = poisson(0.9)
    engine = Engine()
    spent_s = sojourns(engine, Queue(engine, room=9).submit, at_s, draw.exponential(1.0, MANY))
    there = spent_s[~np.isnan(spent_s)]
    assert np.isnan(spent_s).mean() == pytest.approx(0.050814, rel=0.12)
    assert there.mean() == pytest.approx(4.646601, rel=0.06)


@pytest.mark.parametrize("kind", ["exponential", "same", "wild"])
def test_shared_servers_delay_by_the_load_alone_whatever_the_work(kind: str) -> None:
    at_s, draw = poisson(0.6)
    work = {"exponential": draw.exponential(1.0, MANY), "same": np.ones(MANY), "wild": draw.gamma(0.3, 1 / 0.3, MANY)}
    engine = Engine()
    spent_s = sojourns(engine, Shared(engine, 1.0).submit, at_s, work[kind])
    batches = spent_s.reshape(60, -1).mean(axis=1)
    assert spent_s.mean() == pytest.approx(2.5, abs=4 * batches.std() / np.sqrt(60))


def test_shares_are_equal_and_follow_the_rate() -> None:
    engine, ended = Engine(), dict[str, float]()
    link = Shared(engine, 10.0)

    def end(name: str) -> None:
        ended[name] = engine.now_s

    link.submit(100.0, end, "long")
    engine.at(2.0, link.submit, 20.0, end, "short")  # 5 a second each: through at 6
    engine.at(8.0, link.change_rate, 0.0)  # 40 left of the long one
    engine.at(11.0, link.change_rate, 4.0)
    engine.run()
    assert ended == pytest.approx({"short": 6.0, "long": 21.0})


def test_each_goes_at_its_own_speed_in_an_equal_share_of_the_time() -> None:
    engine, ended = Engine(), dict[str, float]()
    cell = Shared(engine, 1.0)

    def end(name: str) -> None:
        ended[name] = engine.now_s

    near = cell.submit(80e6, end, "near", speed=40e6)  # bits, and bits a second alone: 2 s of airtime
    far = cell.submit(20e6, end, "far", speed=5e6)  # 4 s
    engine.at(1.0, cell.change_speed, far, 10e6)  # 17.5 Mbit left: 1.75 s
    engine.at(2.0, cell.change_speed, near, 0.0)  # out of coverage, with 40 Mbit left
    engine.run(3.0)
    assert cell.left(near) == pytest.approx(40e6) and cell.left(far) == pytest.approx(2.5e6)
    engine.at(5.0, cell.change_speed, near, 20e6)
    engine.run()
    assert ended == pytest.approx({"far": 3.25, "near": 7.0})
    cell.held.settle()
    assert (cell.left(far), cell.held.busy_s, cell.held.there_s) == (0, pytest.approx(5.25), pytest.approx(10.25))


@pytest.mark.parametrize("made", [lambda engine: Queue(engine, 2), lambda engine: Shared(engine, 2.0)])
def test_little_s_law_holds_to_the_digit(made: Callable[[Engine], Queue | Shared]) -> None:
    at_s, draw = poisson(1.5, 4000)
    engine = Engine()
    station = made(engine)
    spent_s = sojourns(engine, station.submit, at_s, draw.exponential(1.0, 4000))
    station.held.settle()
    assert station.held.there_s == pytest.approx(spent_s.sum(), rel=1e-9)
    assert (station.held.came, station.held.left, station.held.there, station.held.busy) == (4000, 4000, 0, 0)


def test_the_least_priority_goes_first_and_what_is_withdrawn_never_comes() -> None:
    engine, ended = Engine(), list[str]()
    queue = Queue(engine)
    begun = queue.submit(1.0, ended.append, "first")
    late = queue.submit(1.0, ended.append, "late", priority=2)
    queue.submit(1.0, ended.append, "soon", priority=1)
    gone = queue.submit(1.0, ended.append, "gone", priority=0)
    assert late is not None and gone is not None and begun is not None
    assert queue.withdraw(gone) and not queue.withdraw(gone) and not queue.withdraw(begun)
    engine.run()
    assert (ended, engine.now_s, queue.waiting, queue.held.withdrawn) == (["first", "soon", "late"], 3.0, 0, 1)
    assert not queue.withdraw(late)


def test_what_is_withdrawn_from_a_link_leaves_its_share_to_the_others() -> None:
    engine, ended = Engine(), list[tuple[str, float]]()
    link = Shared(engine, 1.0)
    first = link.submit(10.0, lambda: ended.append(("first", engine.now_s)))
    second = link.submit(10.0, lambda: ended.append(("second", engine.now_s)))
    engine.at(4.0, lambda: None)
    engine.run(4.0)
    assert link.withdraw(first) and not link.withdraw(first)
    engine.run()
    assert ended == [("second", 12.0)] and not link.withdraw(second)
    assert link.held.there == 0


def test_time_does_not_go_back() -> None:
    engine = Engine()
    engine.run(5.0)
    assert engine.now_s == 5.0
    for when_s in (4.0, float("nan")):
        with pytest.raises(OutOfRange, match="it is 5 s already"):
            engine.at(when_s, print)


def test_stations_that_cannot_be_are_refused() -> None:
    with pytest.raises(OutOfRange, match="a queue of 0 servers"):
        Queue(Engine(), 0)
    with pytest.raises(OutOfRange, match="a rate of -1: from 0"):
        Shared(Engine(), -1.0)


def test_who_can_use_a_part_only_leaves_the_rest_to_others() -> None:
    engine, through = Engine(), list[tuple[str, float]]()
    band = Shared(engine, 1.0)

    def note(name: str) -> None:
        through.append((name, engine.now_s))

    band.submit(10.0, note, "far", speed=1.0, part=0.1)
    band.submit(90.0, note, "near", speed=10.0, part=0.9)
    engine.run(5.0)
    band.submit(35.0, note, "third", speed=10.0, part=1.0)  # now there are two wholes of it: all go half as fast
    engine.run()
    assert through == [("third", pytest.approx(12.0)), ("near", pytest.approx(12.5)), ("far", pytest.approx(13.5))]
    band.settle()
    assert band.used_s == pytest.approx(12.5 + 1.0 * 0.1)
