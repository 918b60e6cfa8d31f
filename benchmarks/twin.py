"""How well a run is foretold by its twin: live runs of the demo's questions, each simulated with other runs' times.

python benchmarks/twin.py [--json] [--quick] [--keep DIR]

On this machine, with real workers and emulated links: three deployments (private on a fast link, private on a slow one,
unconstrained), each under three loads, requests by chance. Each run is recorded (journal and request log); its twin
gets service times from the runs of the same deployment under the other loads.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from itertools import cycle
from pathlib import Path

import numpy as np
from kit.figures import Figure, figure, report

from isthmus.demo.scenario import FAST_MBPS, SLOW_MBPS, Case, cases, site, with_topology
from orchestrator.answers import Answer
from orchestrator.client import Client
from simulations.twin import Compared, read_run, services_of, twin

SLOWDOWN = 3.0  # of the camera
LOADS = (0.2, 0.35, 0.5)  # of what the plan is predicted to do
REQUESTS_EACH, QUICK = 1_050, 120
MOST_PER_S = 25.0  # all workers share this machine
WARM_UP = 20


def questions(folder: Path) -> Iterator[tuple[str, Case]]:
    """A private camera on a fast and on a slow link, and one that may send its JPEG."""
    free, private = cases(site(SLOWDOWN), folder)
    yield f"private, {FAST_MBPS:g} Mbps", with_topology(private, site(SLOWDOWN, FAST_MBPS))
    yield f"private, {SLOW_MBPS:g} Mbps", with_topology(private, site(SLOWDOWN, SLOW_MBPS))
    yield f"unconstrained, {FAST_MBPS:g} Mbps", with_topology(free, site(SLOWDOWN, FAST_MBPS))


def record(client: Client, case: Case, per_s: float, count: int, folder: Path, seed: int) -> Path:
    """A run under this load, recorded in a folder."""
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
    client.record(folder, since_s=began_s)
    return folder


def figures_of(name: str, found: Compared) -> list[Figure]:
    """The twin's errors, with what was measured in the name."""
    measured = f"{found.measured_p50_s * 1e3:.1f} and {found.measured_p99_s * 1e3:.1f} ms"
    return [
        figure(f"{name}: requests ({measured} at p50, p99)", found.requests, "requests", 1_000, "higher"),
        figure(f"{name}: p50 off by", abs(found.p50_off), "", 0.10),
        figure(f"{name}: p99 off by", abs(found.p99_off), "", 0.25),
    ]


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
            runs = [
                record(
                    client, case, load * most_per_s, QUICK if options.quick else REQUESTS_EACH,
                    kept / f"run-{place}-{number}", seed=10 * place + number,
                )
                for number, load in enumerate(LOADS)
            ]  # fmt: skip
            for number, load in enumerate(LOADS):
                services = services_of(*(read_run(run) for run in runs if run != runs[number]))
                for found in twin(read_run(runs[number]), services):
                    if found.deployment == case.spec.name:
                        figures += figures_of(f"{title}, {load * most_per_s:.1f}/s", found)
            client.delete(case.spec.name)
        client.shutdown()
    report("twin", figures, json=options.json)


if __name__ == "__main__":
    main()
