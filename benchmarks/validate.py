"""Whether the simulator computes what is known otherwise: queueing theory, 3GPP's formulas, sums that must agree.

Each figure is one case: what is expected (a formula, or a published number), what the simulator's own parts gave, and
how far apart these are: in standard deviations where lots were drawn, else absolute. The target is what a case allows.
Means of what follows each other are judged by the means of batches, those of M/M/1 waits by their known variance. It
measures no speed.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from kit.by_hand import ran
from kit.cases import SIGMAS, Case, close, drawn
from kit.figures import figure, report

from nodes.batching import BatchRules
from simulations.air import Air, Positions, TracedChannel, Transfer
from simulations.backhaul import Backhaul
from simulations.engine import Engine
from simulations.machines import Machine, Work
from simulations.mobility import Standing
from simulations.radio.access import GENERATIONS, NSA
from simulations.radio.carrier import Carrier, peak_bits_per_s
from simulations.radio.energy import PHONE
from simulations.radio.path_loss import UMA, UMI, Floats, break_point_m, path_loss_db, sight_probability
from simulations.scenario import Wire
from simulations.stations import Queue
from simulations.traces.link_trace import LinkTrace

MANY, QUICK = 400_000, 20_000
AT_ONCE = BatchRules(queue_limit=10**9)


# Queues


def poisson(per_s: float, many: int, seed: int) -> tuple[Floats, np.random.Generator]:
    draw = np.random.default_rng(seed)
    return np.cumsum(draw.exponential(1 / per_s, many)), draw


def fed(engine: Engine, at_s: Floats, submit: Callable[[int, Callable[[int], None]], object]) -> Floats:
    """How long each is there; NaN for what never leaves. `submit(number, leave)` is called when it comes."""
    spent_s = np.full(len(at_s), np.nan)

    def leave(number: int) -> None:
        spent_s[number] = engine.now_s - at_s[number]

    def come(number: int) -> None:
        submit(number, leave)
        if number + 1 < len(at_s):
            engine.at(float(at_s[number + 1]), come, number + 1)

    engine.at(float(at_s[0]), come, 0)
    engine.run()
    return spent_s


def at_machine(machine: Machine, engine: Engine, at_s: Floats, work: Floats) -> Floats:
    """Sojourns at a machine."""

    def submit(number: int, leave: Callable[[int], None]) -> None:
        machine.served = lambda work: leave(work.attempt)
        machine.submit(Work((1, "all"), float(work[number]), number))

    return fed(engine, at_s, submit)


def queue(servers: int, at_s: Floats, work: Floats, rules: BatchRules = AT_ONCE) -> Floats:
    """Sojourns at a machine of its own."""
    engine = Engine()
    return at_machine(Machine(engine, "m", servers, rules), engine, at_s, work)


def one_server(many: int) -> Iterator[Case]:
    at_s, draw = poisson(0.7, many, 1)
    load, work = 0.7, draw.exponential(1.0, many)
    spent_s = queue(1, at_s, work)
    sd = float(np.sqrt(load * (2 + 5 * load - 4 * load**2 + load**3) / ((1 - load) ** 4 * many)))
    yield drawn("M/M/1, ρ = 0.7: mean wait, s", 2.33333, spent_s - work, sd)
    yield drawn("M/M/1, ρ = 0.7: mean sojourn, s", 3.3333, spent_s)
    tails = np.quantile(spent_s.reshape(20, -1), 0.99, axis=1)
    p99, spread = float(np.quantile(spent_s, 0.99)), float(tails.std(ddof=1) / np.sqrt(20))
    yield Case(name="M/M/1, ρ = 0.7: p99 sojourn, s", expected=15.3506, got=p99, tolerance=SIGMAS, sd=spread)
    yield close("event engine against Lindley's recursion, s", 0.0, np.abs(spent_s - lindley(at_s, work)).max())
    for name, scv, wait_s in (
        ("M/D/1", 0.0, 1.16667),
        ("M/G/1, scv 0.25", 0.25, 1.45833),
        ("M/G/1, scv 4", 4, 5.83333),
    ):
        work = draw.gamma(1 / scv, scv, many) if scv else np.ones(many)
        yield drawn(f"{name}, ρ = 0.7: mean wait, s", wait_s, queue(1, at_s, work) - work)


def lindley(at_s: Floats, work: Floats) -> Floats:
    """Sojourns of one server by the recursion alone."""
    wait_s, found = 0.0, np.empty(len(at_s))
    for number, gap_s in enumerate(np.diff(at_s, append=0.0).tolist()):
        found[number] = wait_s + work[number]
        wait_s = max(0.0, found[number] - gap_s)
    return found


def several_servers(many: int) -> Iterator[Case]:
    for servers, load, wait_s in ((2, 0.7, 0.960784), (4, 0.8, 0.745541), (8, 0.9, 0.876916)):
        at_s, draw = poisson(servers * load, many, servers)
        work = draw.exponential(1.0, many)
        yield drawn(f"M/M/{servers}, ρ = {load:g}: mean wait, s", wait_s, queue(servers, at_s, work) - work)


def finite(many: int) -> Iterator[Case]:
    at_s, draw = poisson(0.9, many, 5)
    spent_s = queue(1, at_s, draw.exponential(1.0, many), BatchRules(queue_limit=9))
    yield drawn("M/M/1/10, ρ = 0.9: refused", 0.050814, np.isnan(spent_s).astype(np.float64))
    yield drawn("M/M/1/10, ρ = 0.9: mean sojourn, s", 4.646601, spent_s)
    at_s, draw = poisson(8.0, many, 6)
    engine, work = Engine(), draw.exponential(1.0, many)
    station = Queue(engine, 10, room=0)
    spent_s = fed(engine, at_s, lambda number, leave: station.submit(float(work[number]), leave, number))
    yield drawn("Erlang B, a = 8, c = 10: refused", 0.121661, np.isnan(spent_s).astype(np.float64))


def sharing(many: int) -> Iterator[Case]:
    for name, scv in (("M/D/1-PS", 0.0), ("M/G/1-PS, scv 4", 4.0)):
        at_s, draw = poisson(0.6, many, 7)
        work = draw.gamma(1 / scv, scv, many) if scv else np.ones(many)
        engine = Engine()
        backhaul = Backhaul(engine, [Wire(source="a", target="b", bits_per_s=1e6, propagation_s=0.0)])
        line = backhaul.lines["a", "b"]
        spent_s = fed(engine, at_s, lambda number, leave: backhaul.send(line, 1e6 * work[number], leave, number))  # noqa: B023
        yield drawn(f"{name}, a wire at ρ = 0.6: mean sojourn, s", 2.5, spent_s)
        line.shared.held.settle()
        yield close(f"{name}: Little's law, relative", 1.0, line.shared.held.there_s / spent_s.sum())


def networks(many: int) -> Iterator[Case]:
    at_s, draw = poisson(100.0, many, 8)
    engine, goes_on = Engine(), draw.random(many) < 0.5
    stations = [Machine(engine, name, 1, AT_ONCE) for name in ("first", "second", "third")]
    seconds = [draw.exponential(each_s, many).tolist() for each_s in (0.002, 0.005, 0.004)]

    def submit(number: int, leave: Callable[[int], None]) -> None:
        def third(number: int) -> None:
            stations[2].submit(Work((1, "all"), seconds[2][number], number))

        def branch(work: Work) -> None:
            if goes_on[work.attempt]:
                engine.after(0.010, third, work.attempt)
            else:
                leave(work.attempt)

        def second(work: Work) -> None:
            stations[1].submit(Work((1, "all"), seconds[1][work.attempt], work.attempt))

        stations[0].served, stations[1].served = second, branch
        stations[2].served = lambda work: leave(work.attempt)
        stations[0].submit(Work((1, "all"), seconds[0][number], number))

    yield drawn("Jackson's network: mean sojourn, ms", 20.0, 1e3 * fed(engine, at_s, submit))
    at_ms, _ = poisson(0.1, many, 9)
    first_ms = queue(1, at_ms, np.full(many, 2.0))
    yield drawn(
        "tandem of 2 and 5 ms: mean sojourn, ms", 9.5, first_ms + queue(1, at_ms + first_ms, np.full(many, 5.0))
    )


# Radio


def losses(many: int) -> Iterator[Case]:
    del many
    known = (
        (UMI, 3.5, 100.0, 85.31, 104.64), (UMA, 3.5, 100.0, 83.14, 103.04), (UMI, 3.5, 500.0, 107.11, 129.26),
        (UMA, 3.5, 500.0, 98.27, 129.92), (UMI, 28.0, 100.0, 103.38, 123.88), (UMA, 28.0, 100.0, 101.20, 121.10),
    )  # fmt: skip
    for kind, ghz, far_m, seen_db, hidden_db in known:
        for sight, expected in (("LOS", seen_db), ("NLOS", hidden_db)):
            name = f"{kind.name} {sight}, {ghz:g} GHz, {far_m:g} m: path loss, dB"
            yield close(name, expected, float(path_loss_db(kind, ghz, far_m, sight == "LOS")), 0.01)
    for kind, far_m, share in ((UMI, 100, 0.2310), (UMA, 100, 0.3477), (UMI, 500, 0.0360), (UMA, 500, 0.0363)):
        yield close(
            f"{kind.name}, {far_m} m: probability of sight", share, float(sight_probability(kind, far_m)), 5.1e-5
        )
    for kind, far in ((UMI, 210.0), (UMA, 560.0)):
        yield close(f"{kind.name}, 3.5 GHz: break point, m", far, break_point_m(kind, 3.5), 0.01)


def rates(many: int) -> Iterator[Case]:
    del many
    wide, narrow = Carrier(ghz=3.5, mhz=100), Carrier(ghz=3.5, mhz=40)
    short = Carrier(ghz=28.0, mhz=100, spacing_khz=120)
    for name, carrier, way, layers, bits, mbps in (
        ("100 MHz, 4 layers, 256QAM", wide, "down", 4, 8, 2337.00),
        ("100 MHz, 2 layers, 256QAM", wide, "down", 2, 8, 1168.50),
        ("100 MHz, 1 layer, 64QAM", wide, "up", 1, 6, 468.76),
        ("100 MHz, 2 layers, 256QAM", wide, "up", 2, 8, 1250.02),
        ("40 MHz, 4 layers, 256QAM", narrow, "down", 4, 8, 907.41),
        ("FR2, 100 MHz, 2 layers, 64QAM", short, "down", 2, 6, 808.07),
    ):
        got = peak_bits_per_s(carrier, "up" if way == "up" else "down", layers=layers, bits_per_symbol=bits) / 1e6
        yield close(f"{name} {way}: peak rate, Mbit/s", mbps, got, 0.01)
    for name, ms in (("LTE", 34.0), ("NSA", 46.0), ("SA", 66.0)):
        yield close(f"{name}: handover, ms", ms, GENERATIONS[name].handover_s * 1e3)
    yield close("NSA up at 100 Mbit/s: a phone's radio, W", 6.419, PHONE["NSA", "up"].watts(100e6))
    yield close("mmWave down at 1 Gbit/s: a phone's radio, W", 6.967, PHONE["mmWave", "down"].watts(1e9))


def replay(many: int) -> Iterator[Case]:
    """One user who always has something to send, over a trace with silent seconds."""
    draw, seconds = np.random.default_rng(10), 120 if many == QUICK else 1200
    rate = np.where(draw.random(seconds) < 0.2, 0.0, draw.gamma(1.5, 20e6, seconds))
    trace = LinkTrace("drawn", np.arange(seconds, dtype=np.float64), rate, float(seconds))
    engine, place = Engine(), Positions([(Standing(np.zeros((1, 2))), (0.0, 0.0))])
    air = Air(engine, TracedChannel([(trace, trace)], np.zeros((1, 2)), place), 1, NSA, np.random.default_rng(1))
    size, delivered, woke = 1e6, [0.0], list[float]()

    def again(*ended: Transfer) -> None:
        delivered[0] += sum(one.bits for one in ended)
        woke.extend(one.began_s for one in ended[:1])
        under_way[0] = air.send(0, "up", size, again)

    def step() -> None:
        air.step(0.5)
        engine.after(0.5, step)

    under_way = list[Any]([None])
    again()
    engine.after(0.5, step)
    engine.run(float(seconds) - 0.25)
    sent = delivered[0] + size - air.shared["up"][0].left(under_way[0].piece)
    whole = rate.sum() - 0.25 * rate[-1] - woke[0] * rate[0]
    yield close("trace replay: bits delivered over ∫ rate dt", 1.0, sent / whole)


# Whole scenarios


def by_hand(many: int) -> Iterator[Case]:
    """One user, no queue, no lots: each request takes what its hops add up to, and draws what its transfers do."""
    del many
    _, outcome, rows = ran(count=1, kind="regular", variation=0)
    up_ms, down_ms, wires_ms = 800e3 / 20e3, 80e3 / 80e3, 0.8 + 0.08 + 2 * 2
    expected_ms = up_ms + 3 + wires_ms + 30 + 3 + down_ms
    furthest_ms = max((1e3 * row[3] for row in rows[1:]), key=lambda one: abs(one - expected_ms))  # the first one wakes
    yield close("one cell by hand: latency furthest from it, ms", expected_ms, furthest_ms, 1e-6)
    radio_j = (3.199 * up_ms + 3.059 * down_ms) / 1e3 + 32.2e-3 * 0.8 + 11.5e-3 * 0.08
    yield close("one cell by hand: a phone's energy, J", 120 + radio_j * len(rows), outcome.figures["ue_j"], 1e-9)


def sums(many: int) -> Iterator[Case]:
    """What requests tell of themselves, one by one, against what stations, energy and cost were counted to."""
    del many
    world, outcome, rows = ran(count=40, kind="poisson", variation=1.0)
    held, figures = world.machines["mec"].held, outcome.figures
    queued_s, computed_s = sum(row[7] for row in rows), sum(row[8] for row in rows)
    yield close("Little's law at a machine, relative", 1.0, held.there_s / (queued_s + computed_s))
    energy_j = 50 * 120 + (250 - 50) / 2 * computed_s
    yield close("energy of a machine over ∫ P dt", 1.0, figures["mec_j"] / energy_j)
    carried = len(rows) * 110e3
    yield close("energy of the wires over that of their bytes", 1.0, figures["wires_j"] / (carried * 1e-7))
    yield close("cost over hours and bytes", 1.0, figures["cost_usd"] / (2 * 120 / 3600 + carried * 5e-11))
    furthest = max(abs(row[3] - sum(row[6:10])) for row in rows)
    yield close("a request's latency against its hops, s", 0.0, furthest)
    yield close("requests asked for that did not end", 0.0, figures["asked"] - len(rows), 0.0)


CASES: Sequence[Callable[[int], Iterator[Case]]] = (
    one_server, several_servers, finite, sharing, networks, losses, rates, replay, by_hand, sums,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer lots")
    options = parser.parse_args()
    found = [case for cases in CASES for case in cases(QUICK if options.quick else MANY)]
    told = (
        figure(
            f"{one.name}: expected {one.expected:.7g}, got {one.got:.7g}",
            one.error,
            "sd" if one.sd else "",
            one.tolerance,
        )
        for one in found
    )
    report("validate", told, options.json)


if __name__ == "__main__":
    main()
