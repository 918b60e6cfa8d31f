"""What users feel when links move, workers die, a site is cut off and Ray's head is killed: the lab's three hosts.

python benchmarks/recovery.py [--json] [--quick]

EfficientNet over camera, mec and cloud in network namespaces (root and iproute2 needed), requests at a steady rate,
every answer held against the whole model's. Costs of the nodes are made up (tests/lab/driver.py), so that one machine
plans as three would.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.figures import Figure, figure, report

sys.path.append(str(Path(__file__).parents[1]))  # the lab is the tests'
from kit.outage import Asked, Move, move_after, percentile_s, read

from isthmus.zoo import build
from orchestrator.recording import copy_journal
from tests.lab.conftest import TOPOLOGY, write_spec
from tests.lab.hosts import TOKEN, Lab, missing
from tests.lab.journals import journals_below
from tests.lab.told import Told

RATE_PER_S = 15.0
WHOLE_MODEL_S = {"device": 0.15, "edge": 0.02, "cloud": 0.01}
BEGINS_AT, STEPS = 100, (10, 100, 2, 100)  # Mbps of the uplink
RTT_S = 1e-3  # of the lab's links, as its topology states


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the uplink: requests of the steady state before it, those since, and the switch it led to, if any."""

    name: str
    before: list[Asked]
    asked: list[Asked]
    move: Move | None
    excess: float  # in its end


class Ground:
    """The lab with a deployment on it and requests flowing."""

    def __init__(self, lab: Lab, told: Told, spec: str) -> None:
        self.lab, self.told, self._spec = lab, told, spec

    def asked(self, since_s: float, until_s: float = float("inf")) -> list[Asked]:
        """Requests due within that time."""
        return [one for one in read(self.told.ask("asked", since_s)) if one.sent_s < until_s]

    def wait(self, seconds: float) -> None:
        """Let requests flow."""
        self.told.until(_past(time.time() + seconds), "time", within_s=seconds + 60)

    def live(self) -> dict[str, Any]:
        """The deployment's status; empty while no controller answers."""
        try:
            facts: dict[str, Any] = self.told.ask("status")["deployments"]["live"]
        except AssertionError:
            return {}
        return facts

    def excess(self, mbps: float) -> float:
        """What the plan in use takes where the uplink has this rate, over what the best one takes, both as planned."""
        return float(self.told.ask("excess", "live", self._spec, {"camera mec": mbps}))

    def settled(self) -> bool:
        """Whether it runs whole, and something stands by."""
        facts = self.live()
        return bool(facts) and not facts["lost_stage"] and "standby" in [one["state"] for one in facts["epochs"]]


def _past(at_s: float) -> Callable[[], bool]:
    return lambda: time.time() > at_s


def steps(ground: Ground, requests: int) -> list[Figure]:
    """The uplink's rate is stepped while requests come."""
    each_s = requests / RATE_PER_S / (len(STEPS) + 1)
    start_s, taken, before_mbps = time.time(), list[Step](), BEGINS_AT
    ground.wait(each_s)
    steady = _later_half(ground.asked(start_s))
    for mbps in STEPS:
        cause_s = time.time()
        ground.lab.slow("camera", "mec", mbps)
        ground.wait(each_s)
        asked = ground.asked(cause_s)
        move = move_after(cause_s, ground.told.ask("status")["history"], asked)
        taken.append(Step(f"{before_mbps:g} → {mbps:g} Mbps", steady, asked, move, ground.excess(mbps)))
        before_mbps, steady = mbps, _later_half(asked)
    asked = ground.asked(start_s)
    return [
        _failed("steps", asked),
        figure("steps: switches", sum(step.move is not None for step in taken), "switches"),
        *(told for step in taken for told in _figures_of(step)),
        figure("steps: requests sent again", sum(one.attempt > 1 for one in asked), "requests"),
    ]


def _figures_of(step: Step) -> list[Figure]:
    excess = figure(f"{step.name}: the plan in use over the best, in the end", step.excess, "×")
    if (move := step.move) is None:
        return [excess]
    how, target = ("warm", 0.1) if move.was_warm else ("cold", 1.0)
    to_request_s, to_answer_s = move.sent_s - move.decided_s, move.answered_s - move.decided_s
    sent = [one for one in step.asked if one.sent_s >= move.sent_s]
    steady_s = max(percentile_s(half, 99) for half in (step.before, _later_half(sent)))
    return [
        excess,
        figure(f"{step.name}: from the change to the decision", move.decided_s - move.cause_s, "s"),
        figure(f"{step.name}: from the decision to a request that goes there, {how}", to_request_s, "s", target),
        figure(f"{step.name}: from the decision to an answer from there, {how}", to_answer_s, "s"),
        figure(f"{step.name}: p99 after the switch", percentile_s(sent, 99), "s", steady_s + RTT_S),
    ]


def _later_half(asked: Sequence[Asked]) -> list[Asked]:
    return list(asked[len(asked) // 2 :])


def _failed(what: str, asked: Sequence[Asked]) -> Figure:
    faults = sum(bool(one.fault) for one in asked)
    return figure(f"{what}: failed of {len(asked)} requests", faults, "requests", target=0)


def _times(name: str, values: list[float], target: float | None, *, unit: str = "s") -> list[Figure]:
    if not values:
        return []
    return [figure(name, statistics.median(values), unit, target=target, spread=(min(values), max(values)))]


def kills(ground: Ground, times: int) -> list[Figure]:
    """Workers are killed at random moments."""
    draw, start_s, added, back = random.Random(7), time.time(), list[float](), list[float]()
    for _ in range(times):
        ground.told.until(ground.settled, "it runs whole", within_s=90)
        usual_s = percentile_s(ground.asked(time.time() - 5), 50)
        node = draw.choice(("camera", "mec", "cloud"))
        pid = ground.told.until(lambda node=node: ground.told.worker(node), f"a worker on {node}")  # type: ignore[misc]
        assert pid is not None
        ground.wait(draw.random())
        killed_s = time.time()
        os.kill(pid, signal.SIGKILL)
        ground.told.until(lambda node=node, pid=pid: ground.told.worker(node) not in (None, pid), f"another on {node}")  # type: ignore[misc]
        ground.told.until(lambda: not ground.live()["lost_stage"], "no stage is lost")
        back.append(time.time() - killed_s)
        ground.wait(1.0)
        replayed = [one for one in ground.asked(killed_s - 5) if one.attempt > 1]
        added += [one.latency_s - usual_s for one in replayed]
    return [
        _failed(f"kill -9 of {times} workers", ground.asked(start_s)),
        *_times("kill -9: until as many workers are back", back, 5.0),
        *_times("kill -9: what sending again adds", added, None),
    ]


def cut(ground: Ground, seconds: float) -> list[Figure]:
    """The far end of the plan is cut off, head and controller with it if they are there."""
    ground.told.until(ground.settled, "it runs whole", within_s=90)
    far = [stage["node"] for stage in ground.live()["plan"]["stages"]][-1]
    far = "mec" if far == "camera" else far
    start_s = time.time()
    ground.lab.cut(far)
    try:
        ground.wait(seconds)
        asked = ground.asked(start_s, time.time() - 1)
    finally:
        ground.lab.mend(far)
    ground.told.until(ground.settled, "it runs whole again", within_s=180)
    mended_s = time.time()
    ground.wait(12)
    switches = [
        one for one in ground.told.ask("status")["history"] if one["what"] == "switch" and one["at_s"] > mended_s
    ]
    return [
        _failed(f"{far} cut off for {seconds:g} s", asked),
        figure("cut off: slowest request", max(one.latency_s for one in asked), "s"),
        figure("cut off: median request", percentile_s(asked, 50), "s"),
        figure("cut off: switches in the 12 s after it runs whole again", len(switches), "switches"),
    ]


def headless(ground: Ground, seconds: float) -> list[Figure]:
    """Ray's head is killed, with the controller on it."""
    ground.told.until(ground.settled, "it runs whole", within_s=90)
    before, start_s = ground.live(), time.time()
    ground.lab.kill_ray("cloud")
    ground.wait(seconds)
    ground.lab.revive_ray("cloud", "camera", "mec")
    revived_s = time.time()
    ground.told.until(lambda: bool(ground.live()), "a controller that answers", within_s=120)
    after, back_s = ground.live(), time.time() - revived_s
    asked = ground.asked(start_s, time.time() - 1)
    same = all(before[key] == after[key] for key in ("epoch", "state", "plan"))
    return [
        _failed(f"Ray's head killed for {seconds:g} s", asked),
        figure("head killed: state equals the journal's", float(same), "", target=1, better="higher"),
        figure("head killed: from Ray's return to a controller that answers", back_s, "s"),
        figure("head killed: slowest request", max(one.latency_s for one in asked), "s"),
    ]


def _keep(folder: Path, ground: Ground) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(journals_below(host.home for host in ground.lab.hosts.values())):
        copy_journal(path, folder / f"{number}-{path.name}")
    (folder / "requests.json").write_text(json.dumps([asdict(one) for one in ground.asked(0.0)]))


def main() -> None:
    """Go through all of it on one lab, and report."""
    parser = argparse.ArgumentParser(description="What users feel when something breaks.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave the controllers' journals and all requests there"
    )
    parser.add_argument("--quick", action="store_true", help="fewer requests and kills, shorter outages")
    options = parser.parse_args()
    if (reason := missing()) is not None:
        sys.exit(f"recovery.py: {reason}")
    roomy = re.sub(r"memory_mb: [0-9]+", "memory_mb: 200", TOPOLOGY)
    with Lab("camera", "mec", "cloud") as lab:
        lab.slow("camera", "mec", 100)
        lab.slow("camera", "cloud", 5)
        address = lab.start_ray("cloud", "camera", "mec")
        model = build("efficientnet_lite0")
        spec = write_spec(lab.hosts["camera"].home, "live", model, edge="mec", topology=roomy, private=False)
        with Told(lab, "camera", address, TOKEN) as told:
            told.ask("pretend", WHOLE_MODEL_S)
            told.ask("deploy", spec)
            told.ask("pace", "live", spec, RATE_PER_S)
            ground = Ground(lab, told, spec)
            told.until(ground.settled, "it runs, and something stands by", within_s=90)
            figures = steps(ground, 800 if options.quick else 10_000)
            figures += kills(ground, 3 if options.quick else 20)
            figures += cut(ground, 12 if options.quick else 30)
            figures += headless(ground, 12 if options.quick else 60)
            told.ask("unpace")
            if options.keep is not None:
                _keep(options.keep, ground)
            told.ask("shutdown")
    report("recovery", figures, json=options.json)


if __name__ == "__main__":
    main()
