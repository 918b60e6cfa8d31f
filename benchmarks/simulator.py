"""How fast the simulator is: beside SimPy on the same network of queues, and a city of users with radio and mobility.

Jackson's network: 100 requests a second through stations of 2 and 5 ms; half of them leave, half go on after 10 ms to
one of 4 ms; all exponential, so the mean is 20 ms. It is run with the live routing core in the loop for each request,
with the live batching core before each station as well, with neither, and by SimPy, in turn. The city: seven UMi
cells, users who walk, two MEC hosts, a chain of three steps, everything decided by the live cores (kit/city.py).
Seconds are the processor's.
"""

import argparse
import random
import resource
from collections.abc import Callable, Iterator
from statistics import median
from time import process_time

import numpy as np
from kit.city import city, cost_of
from kit.figures import Figure, figure, report

from nodes.batching import BatchRules
from orchestrator.actions import Deliver, Send
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from simulations.engine import Engine
from simulations.machines import Machine, Work
from simulations.stations import Queue

PER_S, SECONDS, ON_S, MEAN_S = 100.0, (0.002, 0.005, 0.004), 0.010, 0.020
BUDGET_S, TARGET_PER_S = 30.0, 100_000
HOUR_S, TARGET_S = 3600.0, 90.0
LIVE = "routing core in the loop"
Attempt = tuple[str, int]  # a request's name, and how often it was sent
Ran = tuple[float, float]  # the processor's seconds, and the mean sojourn, s


class Drawn:
    """The lots of so many requests: when each comes, its seconds at each station, whether it goes on."""

    def __init__(self, many: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.at_s: list[float] = np.cumsum(draw.exponential(1 / PER_S, many)).tolist()
        self.seconds: list[list[float]] = [draw.exponential(each_s, many).tolist() for each_s in SECONDS]
        self.goes_on: list[bool] = (draw.random(many) < 0.5).tolist()


def plain(many: int, seed: int) -> Ran:
    """The event engine and its queues alone."""
    began_s = process_time()
    drawn, engine, total = Drawn(many, seed), Engine(), [0.0]
    (first_s, second_s, third_s), at_s, goes_on = drawn.seconds, drawn.at_s, drawn.goes_on
    first, second, third = (Queue(engine) for _ in SECONDS)

    def come(number: int) -> None:
        first.submit(first_s[number], go_on, number)
        if number + 1 < many:
            engine.at(at_s[number + 1], come, number + 1)

    def go_on(number: int) -> None:
        second.submit(second_s[number], branch, number)

    def branch(number: int) -> None:
        if goes_on[number]:
            engine.after(ON_S, last, number)
        else:
            leave(number)

    def last(number: int) -> None:
        third.submit(third_s[number], leave, number)

    def leave(number: int) -> None:
        total[0] += engine.now_s - at_s[number]

    engine.at(at_s[0], come, 0)
    engine.run()
    return process_time() - began_s, total[0] / many


class Routed:
    """The same with the live routing core: each request is submitted to it, sent as it says, and answered."""

    def __init__(self, drawn: Drawn) -> None:
        self.engine, self.drawn, self.total_s = Engine(), drawn, 0.0
        self.core = Routing()
        self.core.switch(Routes(epoch=1, nodes=("site",), outputs=("answer",)), 0.0)
        self.ends: tuple[Callable[[Attempt], None], ...] = (self._second, self._branch, self._answer)
        self._in_hand: dict[str, int] = {}
        self._queues = [Queue(self.engine) for _ in SECONDS]

    def run(self) -> float:
        """Mean sojourn, s."""
        self.engine.at(self.drawn.at_s[0], self._come, 0)
        self.engine.run()
        return self.total_s / len(self.drawn.at_s)

    def submit(self, place: int, seconds: float, attempt: Attempt) -> None:
        """Have a station work; then the next of `ends` is called."""
        self._queues[place].submit(seconds, self.ends[place], attempt)

    def _come(self, number: int) -> None:
        request = str(number)
        self._in_hand[request] = number
        self._carry_out(self.core.submit(request, self.engine.now_s, BUDGET_S))
        if number + 1 < len(self.drawn.at_s):
            self.engine.at(self.drawn.at_s[number + 1], self._come, number + 1)

    def _carry_out(self, actions: tuple[object, ...]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._work(0, (action.request, action.attempt))
            elif isinstance(action, Deliver):
                self.total_s += self.engine.now_s - self.drawn.at_s[self._in_hand.pop(action.request)]

    def _work(self, place: int, attempt: Attempt) -> None:
        self.submit(place, self.drawn.seconds[place][self._in_hand[attempt[0]]], attempt)

    def _second(self, attempt: Attempt) -> None:
        self._work(1, attempt)

    def _branch(self, attempt: Attempt) -> None:
        if self.drawn.goes_on[self._in_hand[attempt[0]]]:
            self.engine.after(ON_S, self._work, 2, attempt)
        else:
            self._answer(attempt)

    def _answer(self, attempt: Attempt) -> None:
        self._carry_out(self.core.answer(*attempt, ("answer",), self.engine.now_s))


class Batched(Routed):
    """With the live batching core before each station as well."""

    def __init__(self, drawn: Drawn) -> None:
        super().__init__(drawn)
        rules = BatchRules(queue_limit=10**9)
        self._machines = [Machine(self.engine, name, 1, rules) for name in ("first", "second", "third")]
        for machine in self._machines:
            machine.served = self._served

    def submit(self, place: int, seconds: float, attempt: Attempt) -> None:
        """As above; the machine's stage is named after the place."""
        self._machines[place].submit(Work((1, str(place)), seconds, (place, attempt)), self.engine.now_s + BUDGET_S)

    def _served(self, work: Work) -> None:
        place, attempt = work.attempt
        self.ends[place](attempt)


def routed(many: int, seed: int) -> Ran:
    """With the live routing core."""
    began_s = process_time()
    mean_s = Routed(Drawn(many, seed)).run()
    return process_time() - began_s, mean_s


def batched(many: int, seed: int) -> Ran:
    """With both live cores."""
    began_s = process_time()
    mean_s = Batched(Drawn(many, seed)).run()
    return process_time() - began_s, mean_s


def by_simpy(many: int, seed: int) -> Ran:
    """As SimPy's own documents write such a model."""
    import simpy

    began_s = process_time()
    draw, total = random.Random(seed), [0.0]
    env = simpy.Environment()
    first, second, third = (simpy.Resource(env, capacity=1) for _ in SECONDS)

    def served(station: simpy.Resource, mean_s: float) -> Iterator[simpy.Event]:
        with station.request() as turn:
            yield turn
            yield env.timeout(draw.expovariate(1 / mean_s))

    def request() -> Iterator[simpy.Event]:
        began = env.now
        yield from served(first, SECONDS[0])
        yield from served(second, SECONDS[1])
        if draw.random() < 0.5:
            yield env.timeout(ON_S)
            yield from served(third, SECONDS[2])
        total[0] += env.now - began

    def source() -> Iterator[simpy.Event]:
        for _ in range(many):
            yield env.timeout(draw.expovariate(PER_S))
            env.process(request())

    env.process(source())
    env.run()
    return process_time() - began_s, total[0] / many


def jackson(many: int, repeats: int) -> Iterator[Figure]:
    """All in turn, several times over, after a turn that does not count."""
    contenders: dict[str, Callable[[int, int], Ran]] = {
        LIVE: routed,
        "routing and batching cores in the loop": batched,
        "no cores": plain,
        "SimPy": by_simpy,
    }
    per_s: dict[str, list[float]] = {name: [] for name in contenders}
    means_s: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            seconds, mean_s = run(many if turn else many // 10, turn)
            if turn:
                per_s[name].append(many / seconds)
                means_s[name].append(mean_s)
    for name, found in per_s.items():
        target = TARGET_PER_S if name == LIVE else None
        spread = (min(found), max(found))
        yield figure(f"Jackson, {name}: requests per CPU-second", median(found), "/s", target, "higher", spread)
    for name in contenders:
        if name != "SimPy":
            ratios = [ours / theirs for ours, theirs in zip(per_s[name], per_s["SimPy"], strict=True)]
            spread = (min(ratios), max(ratios))
            yield figure(f"Jackson, {name} / SimPy", median(ratios), "×", 1.0, "higher", spread)
    for name, found in means_s.items():
        off = abs(float(np.mean(found)) / MEAN_S - 1)
        yield figure(f"Jackson, {name}: mean sojourn off 20 ms by", off, "", 0.05)


def cities(quick: bool) -> Iterator[Figure]:
    seconds = 60.0 if quick else HOUR_S
    spent_s, outcome = cost_of(city(1000, seconds))
    told = f"1,000 UEs × {seconds:g} s × 1 request/s with radio and mobility"
    yield figure(f"{told}: CPU seconds", spent_s, "s", None if quick else TARGET_S)
    if quick:
        yield figure("1,000 UEs × 1 h, at the pace of its first minute: CPU seconds", spent_s * 60, "s", TARGET_S)
    yield figure(f"{told}: requests per CPU-second", outcome.requests / spent_s, "/s", better="higher")
    yield figure(f"{told}: CPU microseconds an event", 1e6 * spent_s / outcome.events, "µs")
    yield figure(f"{told}: share of requests that failed", outcome.figures["failed_share"], "")
    seconds = 20.0 if quick else 120.0
    spent_s, outcome = cost_of(city(10_000, seconds, 0.1))
    told = f"10,000 UEs × {seconds:g} s × 0.1 request/s"
    yield figure(f"{told}: CPU seconds", spent_s, "s")
    yield figure(f"{told}: requests per CPU-second", outcome.requests / spent_s, "/s", better="higher")
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux
    yield figure("most memory so far", most_mb, "MB")


def growth(quick: bool) -> Iterator[Figure]:
    """How cost grows: the slope of its logarithm over that of the size, 1 for linear. Plans stay as they are."""
    users, spans_s = (100, (20, 40, 80)) if quick else (200, (60, 120, 240, 480))
    yield fitted("requests", [(span_s * users, city(users, span_s, policy="static")) for span_s in spans_s])
    seconds, crowds = (8, (125, 250, 500)) if quick else (30, (125, 250, 500, 1000, 2000))
    yield fitted("UEs, as many requests each", [(many, city(many, seconds, policy="static")) for many in crowds])
    yield fitted(
        "UEs, as many requests in all", [(many, city(many, seconds, 200 / many, policy="static")) for many in crowds]
    )


def fitted(what: str, sizes: list[tuple[int, str]]) -> Figure:
    """One slope, by the lesser of two runs of each; its spread is that from each size to the next."""
    points = np.log([(size, min(cost_of(text)[0] for _ in range(2))) for size, text in sizes])
    slope = float(np.polyfit(points[:, 0], points[:, 1], 1)[0])
    steps = np.diff(points[:, 1]) / np.diff(points[:, 0])
    spread = (float(steps.min()), float(steps.max()))
    return figure(
        f"cost against {what}: exponent from {sizes[0][0]:,} to {sizes[-1][0]:,}", slope, "", 1.1, spread=spread
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a minute of the city instead of an hour, fewer repeats")
    options = parser.parse_args()
    many, repeats = (20_000, 3) if options.quick else (200_000, 7)
    figures = [*jackson(many, repeats), *cities(options.quick), *growth(options.quick)]
    report("simulator", figures, options.json)


if __name__ == "__main__":
    main()
