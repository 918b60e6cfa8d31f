"""How well a run is foretold by its twin: live runs of the demo's questions, each simulated with other runs' times.

python benchmarks/twin.py [--json] [--quick] [--keep DIR]

On this machine, with real workers and emulated links: three deployments (private on a fast link, private on a slow one,
unconstrained), each under three loads, requests by chance. The loads take turns, ROUNDS times, so that a machine that
is slower for a minute is so for all; what was recorded under one load is a run. Its twin gets service times from the
runs of the same deployment under the other loads. Beside it, without targets: how much longer stages really took than
in these other runs, and what the twin comes to with the run's own times.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import cycle
from math import ceil
from pathlib import Path

import numpy as np
from kit.figures import Figure, figure, report

from isthmus.demo.scenario import FAST_MBPS, SLOW_MBPS, Case, cases, site, with_topology
from orchestrator.answers import Answer
from orchestrator.client import Client
from simulations.twin import Run, read_run, services_of, twin

SLOWDOWN = 3.0  # of the camera
LOADS = (0.2, 0.35, 0.5)  # of what the plan is predicted to do
REQUESTS_EACH, QUICK = 1_050, 120
MOST_PER_S = 25.0  # all workers share this machine
WARM_UP, ROUNDS = 10, 5


def questions(folder: Path) -> Iterator[tuple[str, Case]]:
    """A private camera on a fast and on a slow link, and one that may send its JPEG."""
    free, private = cases(site(SLOWDOWN), folder)
    yield f"private, {FAST_MBPS:g} Mbps", with_topology(private, site(SLOWDOWN, FAST_MBPS))
    yield f"private, {SLOW_MBPS:g} Mbps", with_topology(private, site(SLOWDOWN, SLOW_MBPS))
    yield f"unconstrained, {FAST_MBPS:g} Mbps", with_topology(free, site(SLOWDOWN, FAST_MBPS))


def asked(client: Client, case: Case, per_s: float, count: int, seed: int) -> float:
    """A deployment under this load, once it is warm: from when on."""
    name, requests = case.spec.name, cycle(case.requests.values())
    for _ in range(WARM_UP):
        client.answer(name, next(requests))
    gaps_s, began_s = np.random.default_rng(seed).exponential(1 / per_s, count), time.time()
    due_s, under_way = began_s, list[Future[Answer]]()
    for gap_s in gaps_s:
        due_s += float(gap_s)
        time.sleep(max(0.0, due_s - time.time()))
        under_way.append(client.submit(name, next(requests), trace=True, timeout_s=60))
    wait(under_way)
    return began_s


def recorded(client: Client, case: Case, rates: Sequence[float], count: int, folder: Path) -> list[Run]:
    """A run under each load; they take turns, and each turn is recorded before the journal forgets its plans."""
    parts: list[list[Run]] = [[] for _ in rates]
    for turn in range(ROUNDS):
        for number, per_s in enumerate(rates):
            seed, kept = len(rates) * turn + number, folder / f"turn-{turn}-{number}"
            began_s = asked(client, case, per_s, ceil(count / ROUNDS), seed)
            client.record(kept, since_s=began_s)
            parts[number].append(read_run(kept))
    return [together(each) for each in parts]


def together(parts: Sequence[Run]) -> Run:
    """Several recordings, in the order of time, as one run."""
    plans = {key: plan for part in parts for key, plan in part.plans.items()}
    links = sorted((told for part in parts for told in part.links), key=lambda told: told[0])
    answers = tuple(one for part in parts for one in part.answers)
    return Run(name=parts[0].name, plans=plans, links=tuple(links), answers=answers)


def figures_of(name: str, run: Run, others: Sequence[Run]) -> Iterator[Figure]:
    """The twin's errors, with what was measured in the name."""
    (found,) = twin(run, services_of(*others))
    (own,) = twin(run, services_of(run))
    measured = f"{found.measured_p50_s * 1e3:.1f} and {found.measured_p99_s * 1e3:.1f} ms"
    yield figure(f"{name}: requests ({measured} at p50, p99)", found.requests, "requests", 1_000, "higher")
    yield figure(f"{name}: p50 off by", abs(found.p50_off), "", 0.10)
    yield figure(f"{name}: p99 off by", abs(found.p99_off), "", 0.25)
    yield figure(f"{name}: p50 off by, with its own times", abs(own.p50_off), "")
    yield figure(f"{name}: p99 off by, with its own times", abs(own.p99_off), "")
    yield figure(f"{name}: stages took, over those in the other runs", drift(run, others), "×")


def drift(run: Run, others: Sequence[Run]) -> float:
    """The mean of each stage's seconds over that in the other runs, by how often it ran."""
    here, there = services_of(run).stages, services_of(*others).stages
    both = [key for key in here if key in there]
    spent_s = sum(here[key].sum() for key in both)
    return float(spent_s / sum(there[key].mean() * len(here[key]) for key in both))


def main() -> None:
    """Record, foretell, compare."""
    parser = argparse.ArgumentParser(description="How well a run is foretold by its twin.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} requests a run")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the recordings there")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch, Client() as client:
        kept = options.keep or Path(scratch)
        for place, (title, case) in enumerate(questions(Path(scratch))):
            profile, _ = client.profile(case.spec)
            client.deploy(case.spec, profile=profile)
            most_per_s = min(client.plan(case.spec.name).predicted.throughput_per_s, MOST_PER_S / max(LOADS))
            rates = [load * most_per_s for load in LOADS]
            count = QUICK if options.quick else REQUESTS_EACH
            runs = recorded(client, case, rates, count, kept / f"run-{place}")
            for per_s, run in zip(rates, runs, strict=True):
                others = [other for other in runs if other is not run]
                figures += figures_of(f"{title}, {per_s:.1f}/s", run, others)
            client.delete(case.spec.name)
        client.shutdown()
    report("twin", figures, json=options.json)


if __name__ == "__main__":
    main()
