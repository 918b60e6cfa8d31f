"""The twin of a live run: its requests again, in simulated time, through its plans and links, on other runs' times.

Arrivals and the epoch of each request are those of the run's request log, plans and link estimates those of its
journal. What a stage takes is drawn from what it took in other runs, where the same operators ran on the same node;
else from its planned time, times what others there took over theirs; in stretches, as a machine that is slow stays so
for a while (the stationary bootstrap: Politis and Romano, J. Am. Stat. Assoc. 89, 1994). What messages take beyond
bytes over goodput is drawn likewise (software at both ends), of requests that met nobody: what others wait is for the
twin to tell. Stages are served one at a time, as their lanes are, and so are links' bytes. So what it predicts is the
waiting: the distribution of latencies under this run's load, epochs and links.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from pathlib import Path

import numpy as np

from orchestrator.control import Control
from orchestrator.errors import JournalError
from orchestrator.events import DeployRequested, LinkObserved
from orchestrator.instructions import OpenEpoch
from orchestrator.links_seen import LinkEstimate
from orchestrator.recording import read_recording
from orchestrator.request_log import JOURNAL, REQUESTS, Ended, read_request_log
from orchestrator.routes import entry, onward, returned
from partitioner.plan import Crossing, Plan, Stage
from simulations.engine import Engine
from simulations.errors import SimulationsError
from simulations.stations import Queue

STRETCH = 50.0  # of times that are drawn one after the other, as they were; its mean
DRAWS = 10  # of a whole run: one alone tells its 99th percentile by a few requests
LEAST = 20  # traced answers of a stage, from which its times are drawn; fewer tell too little
Ends = tuple[str, str]
Did = tuple[str, tuple[str, ...]]  # a node, and the operators that it ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A recorded run: plans by deployment and epoch, links in the order of time, answers in that of arrival.

    `left_out` more were answered by epochs of which the journal, shortened since, has no plan any more.
    """

    name: str
    plans: Mapping[tuple[str, int], Plan]
    links: tuple[tuple[float, LinkEstimate], ...]
    answers: tuple[Ended, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One deployment's latencies, seconds: as measured, and as its twin has them."""

    deployment: str
    requests: int
    measured_p50_s: float
    measured_p99_s: float
    predicted_p50_s: float
    predicted_p99_s: float

    @property
    def p50_off(self) -> float:
        """The prediction's error, relative to what was measured."""
        return self.predicted_p50_s / self.measured_p50_s - 1

    @property
    def p99_off(self) -> float:
        """The same of the 99th percentile."""
        return self.predicted_p99_s / self.measured_p99_s - 1


def read_run(folder: Path) -> Run:
    """The recording in a folder: `journal.sqlite` and `requests.jsonl`. JournalError for what can't be read.

    SimulationsError if the journal lacks the plans of all epochs that answered.
    """
    recording, ended = read_recording(folder / JOURNAL), read_request_log(folder / REQUESTS)
    plans: dict[tuple[str, int], Plan] = {}
    links: list[tuple[float, LinkEstimate]] = []
    if (before := recording.snapshot) is not None:
        known = Control().restored(before.knowledge).deployments().values()
        plans |= {(one.name, epoch.number): epoch.plan for one in known for epoch in one.epochs}
        links += [(0.0, link) for one in known for link in one.links]
    for record in recording.records:
        event = record.event
        if isinstance(event, DeployRequested):
            links += [(record.now_s, link) for link in event.links]
        elif isinstance(event, LinkObserved):
            seen = LinkEstimate(
                source=event.source, target=event.target, bytes_per_s=event.bytes_per_s,
                propagation_s=event.propagation_s,
            )  # fmt: skip
            links.append((record.now_s, seen))
        for instruction in record.instructions:
            if isinstance(instruction, OpenEpoch):
                plans[instruction.deployment, instruction.epoch] = instruction.plan
    answered = sorted((one for one in ended if not one.failed), key=lambda one: one.arrived_s)
    if not answered:
        raise JournalError(f"{folder / REQUESTS}: no request was answered")
    answers = tuple(one for one in answered if (one.deployment, one.epoch) in plans)
    if not answers:
        first = answered[0]
        raise SimulationsError(f"{folder}: the journal has no plan of epoch {first.epoch} of {first.deployment}")
    left_out = len(answered) - len(answers)
    return Run(name=str(folder), plans=plans, links=tuple(links), answers=answers, left_out=left_out)


@dataclass(frozen=True, slots=True)
class Services:
    """Seconds of stages by what they did, and of a message beyond its bytes over goodput and propagation.

    `over_plan`: by node, and for "" of all, what stages took over what was planned.
    """

    stages: Mapping[Did, np.ndarray]
    over_plan: Mapping[str, np.ndarray]
    message_s: np.ndarray

    def of(self, stage: Stage) -> np.ndarray:
        """Seconds that this stage may take, to draw from."""
        seen = self.stages.get(_did(stage))
        if seen is not None and len(seen) >= LEAST:
            return seen
        ratios = self.over_plan.get(stage.node)
        return np.asarray(stage.seconds * (self.over_plan[""] if ratios is None or len(ratios) < LEAST else ratios))


@dataclass(slots=True)
class _Seen:
    """What was seen in runs so far; `beyond` by how many others were under way."""

    stages: dict[Did, list[float]] = field(default_factory=lambda: defaultdict(list))
    over_plan: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    beyond: list[tuple[int, float]] = field(default_factory=list)


def services_of(*runs: Run) -> Services:
    """What stages and messages took in runs whose requests were traced. SimulationsError if too few were."""
    seen = _Seen()
    for run in runs:
        _look(run, seen)
    if len(seen.beyond) < LEAST:
        names = ", ".join(run.name for run in runs)
        raise SimulationsError(f"{names}: {len(seen.beyond)} traced answers; service times need {LEAST} (trace=True)")
    few = sorted(many for many, _ in seen.beyond)[LEAST - 1]
    return Services(
        {did: np.array(took) for did, took in seen.stages.items()},
        {node: np.array(ratios) for node, ratios in seen.over_plan.items()},
        np.array([each_s for many, each_s in seen.beyond if many <= few]),
    )


def _look(run: Run, seen: _Seen) -> None:
    rates = _Links(run.links)
    for answer, met in zip(run.answers, _met(run.answers), strict=True):
        plan = run.plans[answer.deployment, answer.epoch]
        if answer.attempts > 1 or len(answer.hops) != len(plan.stages):
            continue
        known = {stage.name: stage for stage in plan.stages}
        inside_s = 0.0
        for hop in answer.hops:
            took_s = hop.decode_s + hop.compute_s + hop.encode_s
            seen.stages[_did(known[hop.stage])].append(took_s)
            for node in (known[hop.stage].node, ""):
                seen.over_plan[node].append(took_s / known[hop.stage].seconds)
            inside_s += took_s + hop.queue_s
        rates.advance(answer.arrived_s)
        on_links_s = sum(rates.seconds(crossing) + rates.propagation_s(crossing) for crossing in _messages(plan))
        each_s = max(0.0, answer.latency_s - inside_s - on_links_s) / len(_messages(plan))
        seen.beyond.append((met, each_s))


def _met(answers: Iterable[Ended]) -> list[int]:
    """How many others were under way when each request came; answers in the order of arrival."""
    found, ends_s = list[int](), list[float]()
    for answer in answers:
        while ends_s and ends_s[0] <= answer.arrived_s:
            heappop(ends_s)
        found.append(len(ends_s))
        heappush(ends_s, answer.arrived_s + answer.latency_s)
    return found


def twin(run: Run, services: Services, *, seed: int = 1) -> tuple[Compared, ...]:
    """The run again, deployment by deployment: DRAWS times with other lots, whose latencies are taken together."""
    draw, took = np.random.default_rng(seed), defaultdict[str, list[float]](list)
    for _ in range(DRAWS):
        _once(run, services, draw, took)
    return tuple(_compared(run, name, np.array(latencies)) for name, latencies in took.items())


def _once(run: Run, services: Services, draw: np.random.Generator, took: dict[str, list[float]]) -> None:
    """Latencies of each deployment, added to `took`."""
    engine, rates = Engine(), _Links(run.links)
    ways = {key: _way(plan, services, draw) for key, plan in run.plans.items() if _answered(run, key)}
    queues: dict[object, Queue] = {}
    begin_s = run.answers[0].arrived_s

    def go_on(answer: Ended, at: int) -> None:
        way = ways[answer.deployment, answer.epoch]
        if at == len(way):
            took[answer.deployment].append(engine.now_s - (answer.arrived_s - begin_s))
            return
        station, held_s, after_s = way[at](rates)
        queue = queues.setdefault(station, Queue(engine))
        queue.submit(held_s, lambda: engine.after(after_s, go_on, answer, at + 1))

    def arrive(answer: Ended) -> None:
        rates.advance(answer.arrived_s)
        go_on(answer, 0)

    for answer in run.answers:
        engine.at(answer.arrived_s - begin_s, arrive, answer)
    engine.run()


def _compared(run: Run, name: str, predicted: np.ndarray) -> Compared:
    measured = np.array([one.latency_s for one in run.answers if one.deployment == name])
    return Compared(
        deployment=name,
        requests=len(measured),
        measured_p50_s=float(np.percentile(measured, 50)),
        measured_p99_s=float(np.percentile(measured, 99)),
        predicted_p50_s=float(np.percentile(predicted, 50)),
        predicted_p99_s=float(np.percentile(predicted, 99)),
    )


class _Drawn:
    """Times that were seen, again in stretches of chance."""

    def __init__(self, seen: np.ndarray, draw: np.random.Generator) -> None:
        self._seen, self._draw, self._at = seen, draw, int(draw.integers(len(seen)))

    def next_s(self) -> float:
        """The one after the last, or any."""
        is_new = self._draw.random() < 1 / STRETCH
        self._at = int(self._draw.integers(len(self._seen))) if is_new else (self._at + 1) % len(self._seen)
        return float(self._seen[self._at])


class _Links:
    """The newest estimates of a run's links, as time goes on."""

    def __init__(self, told: Iterable[tuple[float, LinkEstimate]]) -> None:
        self._told = list(told)
        self._next, self._now = 0, dict[Ends, LinkEstimate]()

    def advance(self, at_s: float) -> None:
        """Take in what was known by then; what nobody had told yet is as first told."""
        while self._next < len(self._told) and (self._told[self._next][0] <= at_s or not self._now):
            link = self._told[self._next][1]
            self._now[link.ends] = link
            self._next += 1

    def seconds(self, crossing: Crossing) -> float:
        """What a message's bytes take."""
        if crossing.source == crossing.target:
            return 0.0
        link = self._now.get((crossing.source, crossing.target))
        return crossing.transfer_s if link is None else crossing.nbytes / link.bytes_per_s

    def propagation_s(self, crossing: Crossing) -> float:
        """What its first bit takes."""
        link = self._now.get((crossing.source, crossing.target))
        return crossing.propagation_s if link is None else link.propagation_s


Hop = Callable[[_Links], tuple[object, float, float]]  # a station, how long it is held, and how long after that


def _way(plan: Plan, services: Services, draw: np.random.Generator) -> tuple[Hop, ...]:
    """A request's stations in order."""
    beyond = _Drawn(services.message_s, draw)
    hops: list[Hop] = [partial(_message, entry(plan), beyond)]
    for stage in plan.stages:
        hops.append(partial(_stage, (stage.node, plan.stages, stage.name), _Drawn(services.of(stage), draw)))
        crossing = onward(plan, stage) or returned(plan, stage)
        if crossing is not None:
            hops.append(partial(_message, crossing, beyond))
    return tuple(hops)


def _stage(station: object, times: _Drawn, links: _Links) -> tuple[object, float, float]:
    del links
    return station, times.next_s(), 0.0


def _message(crossing: Crossing, beyond: _Drawn, links: _Links) -> tuple[object, float, float]:
    after_s = beyond.next_s() + links.propagation_s(crossing)
    return (crossing.source, crossing.target), links.seconds(crossing), after_s


def _messages(plan: Plan) -> tuple[Crossing, ...]:
    """Those that a request waits for, one after the other."""
    later = [onward(plan, stage) or returned(plan, stage) for stage in plan.stages]
    return (entry(plan), *(crossing for crossing in later if crossing is not None))


def _did(stage: Stage) -> Did:
    return stage.node, stage.operators


def _answered(run: Run, key: tuple[str, int]) -> bool:
    return any((one.deployment, one.epoch) == key for one in run.answers)
