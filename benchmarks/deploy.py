"""How long until it serves: deploying a two-stage EfficientNet on running workers, and the whole demo.

python benchmarks/deploy.py [--json] [--quick]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from kit.cuts import chain_plan
from kit.figures import Figure, figure, report

from isthmus import Client
from isthmus.demo.scenario import blueprint, cases, site


def main() -> None:
    """Time both and report."""
    parser = argparse.ArgumentParser(description="How long until it serves.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer runs, and no demo")
    options = parser.parse_args()
    figures = deploying(3 if options.quick else 7)
    if not options.quick:
        figures += demo(3)
    report("deploy", figures, json=options.json)


def deploying(runs: int) -> list[Figure]:
    """Seconds from `Client.deploy` to its return, two stages on two workers, nothing left loaded in between."""
    with TemporaryDirectory() as scratch, Client() as client:
        case = cases(site(1.0), Path(scratch))[1]
        profile, _ = client.profile(case.spec)
        plan = chain_plan(blueprint(case.spec, profile).problem(), ("camera", "mec"), (0.5,), near=0.2)
        spent = []
        for _ in range(runs):
            begun_s = time.perf_counter()
            client.deploy(case.spec, profile=profile, plan=plan)
            spent.append(time.perf_counter() - begun_s)
            client.delete(case.spec.name)
    spread = (min(spent), max(spent))
    return [figure("deploy two-stage EfficientNet", statistics.median(spent), "s", target=2.0, spread=spread)]


def demo(runs: int) -> list[Figure]:
    """Seconds of the whole `isthmus demo`, and what it promised."""
    spent, broken = [], 0
    for _ in range(runs):
        begun_s = time.perf_counter()
        told = subprocess.run([sys.executable, "-m", "isthmus", "demo", "--json"], capture_output=True, check=False)
        spent.append(time.perf_counter() - begun_s)
        broken += len(json.loads(told.stdout)["broken_promises"])
    spread = (min(spent), max(spent))
    return [
        figure("isthmus demo", statistics.median(spent), "s", target=90.0, spread=spread),
        figure("promises broken by the demo", broken, "promises", target=0),
    ]


if __name__ == "__main__":
    main()
