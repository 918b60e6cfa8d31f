"""What 200 switches of epochs leave behind: processes, threads, descriptors, shared memory, resident memory.

python benchmarks/leaks.py [--json] [--quick] [--switches N]

A cluster of this machine's own with Ray, a small model over a camera and a cloud, requests under way all the time. Two
specs between which the best cut moves are deployed in turn: each is planned and mapped, its epoch loaded and switched
to, the old one drained and dropped, and with it what stood by for the old spec. After the first switches, in which
pools, arenas and caches fill, and at the end everything is counted while nothing is under way but requests. Every few
switches there is a look between, from which memory's rise per switch is told.

Ray's own servers are told of, without a target: they are not ours.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from kit.census import Holding, Look, holding, look, median, slope, total
from kit.figures import Figure, figure, report

sys.path.append(str(Path(__file__).parents[1]))  # the small model is the tests'

import numpy as np

from orchestrator.client import Client
from orchestrator.local_cluster import session_pids, worker_pids
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.eventually import eventually
from tests.orchestrator.small_site import WIDE, answer_of, site, two_layers

HIDDEN = 64  # 1 MB of weights: what is kept of every epoch is seen at once
SLOWDOWNS = (10.0, 100.0)  # of the camera: it computes the first layer, or nothing
SWITCHES, WARM_UP, QUICK, QUICK_WARM_UP, EACH = 200, 40, 20, 20, 10
LOOKS, LOOK_S = 7, 0.2
GROWTH = 0.05
# Threads of an event loop's pool (cores + 4 at most) begin when first needed, and after a short warm-up one of Ray's
# channels between its processes may. What each switch left behind would be dozens.
LATE = 2


@dataclass(slots=True)
class Flow:
    """Requests one after the other; how many were answered, and what went wrong."""

    client: Client
    answered: int = 0
    failed: int = 0
    fault: str = ""

    def run(self, over: Event) -> None:
        """Until it is over."""
        given = np.linspace(-1, 1, WIDE, dtype=np.float32)[None]
        wanted = answer_of(given, hidden=HIDDEN)
        while not over.is_set():
            try:
                outputs = self.client.infer("two", {"x": given}, timeout_s=30)
            except Exception as fault:  # told with the figures
                self._fail(f"{type(fault).__name__}: {fault}")
                over.wait(0.1)
                continue
            self.answered += 1
            if not np.allclose(outputs["y"], wanted, atol=1e-3):
                self._fail("a wrong answer")

    def _fail(self, why: str) -> None:
        self.failed, self.fault = self.failed + 1, self.fault or why


@contextmanager
def flowing(client: Client) -> Iterator[Flow]:
    """Meanwhile requests are under way."""
    flow, over = Flow(client), Event()
    thread = Thread(target=flow.run, args=(over,))
    thread.start()
    try:
        yield flow
    finally:
        over.set()
        thread.join()


class Ground:
    """A deployment that is switched again and again, and the processes that have to do with it."""

    def __init__(self, client: Client, folder: Path) -> None:
        path = two_layers(folder, hidden=HIDDEN)
        self._client, self._switched = client, 0
        spec = DeploymentSpec(
            name="two", model=path, topology=site(mbps=80), source="camera", inputs=(InputSpec(name="x", at="camera"),)
        )
        self._specs = [replace(spec, topology=site(mbps=80, slowdown=one), digest=f"{one}") for one in SLOWDOWNS]
        model = load(prepare(spec).path)
        engines = {EngineKey(node_class="here", backend="onnxruntime"): {"first": 1e-4, "second": 2e-3}}
        known = {key: EngineProfile(operator_s=seconds) for key, seconds in engines.items()}
        self._profile = Profile(model=model.sha256, engines=known, message_s=1e-4)
        self.switch()
        self._agent = agent_of(self.pids())

    def switch(self) -> None:
        """Deploy the other spec, and wait until nothing of the one before is left and what should stand by does."""
        self._client.deploy(self._specs[self._switched % len(self._specs)], profile=self._profile)
        eventually(self._is_calm, within_s=60, what=f"one epoch and what stands by; there are {self.states()}")
        self._switched += 1

    def _is_calm(self) -> bool:
        states = self.states()
        return states.count("active") == 1 and set(states) == {"active", "standby"}

    def states(self) -> list[str]:
        """Where each epoch stands."""
        return [epoch["state"] for epoch in self._facts()["epochs"]]

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self._client.status()["deployments"]["two"]
        return facts

    @property
    def epoch(self) -> int:
        """The epoch in use, which each switch raises by one at least."""
        return int(self._facts()["epoch"])

    def roles(self) -> dict[str, int]:
        """Our processes."""
        workers = sorted(self._client.status()["workers"].items())
        return {
            "client": os.getpid(),
            "controller": int(self._client.facts["pid"]),
            "agent": self._agent,
            **{f"{node}'s worker": int(facts["pid"]) for node, facts in workers},
        }

    def pids(self) -> list[int]:
        """Our processes and all of Ray's."""
        own = self._client._own
        assert own is not None
        return [os.getpid(), *session_pids(own.pid), *worker_pids(own.folder)]

    def seen(self, looks: int = LOOKS) -> Look:
        """What is held while no epoch comes or goes."""
        found = []
        for _ in range(looks):
            gc.collect()
            found.append(look(self.roles(), self.pids()))
            time.sleep(LOOK_S)
        return median(found)

    def rays(self) -> dict[str, Holding]:
        """What Ray's own processes hold."""
        ours = self.roles().values()
        held = {str(pid): holding(pid) for pid in self.pids() if pid not in ours}
        return {name: one for name, one in held.items() if one is not None}


def agent_of(pids: Iterable[int]) -> int:
    """The process of the host's agent, by the title that Ray gives it."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            if b"AgentActor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise LookupError("no process is the agent's")


def judged(before: Look, after: Look, rises: Mapping[str, float], *, late: int) -> list[Figure]:
    """What there is more of than before; `rises` are bytes of memory per switch, `late` descriptors may be new."""
    figures = [
        figure("processes, ours and Ray's: more than before", after.processes - before.processes, "", target=0),
        figure("shared memory: files more than before", after.shared - before.shared, "files", target=0),
        figure("shared memory: more than before", after.shared_bytes - before.shared_bytes, "bytes", target=0),
    ]
    for role, was in before.holdings.items():
        now = after.holdings[role]
        figures += [
            figure(f"{role}: threads more than before", now.threads - was.threads, "threads", target=LATE),
            figure(f"{role}: descriptors more than before", now.descriptors - was.descriptors, "", target=late),
            figure(f"{role}: memory grown by", grown(was, now), "%", target=100 * GROWTH),
            figure(f"{role}: memory at the end", now.resident_bytes / 1e6, "MB"),
            figure(f"{role}: memory's rise per switch", rises[role] / 1e3, "kB"),
        ]
    return figures


def told_of_ray(before: Mapping[str, Holding], after: Mapping[str, Holding]) -> list[Figure]:
    """What Ray's own processes hold more than before, all in all: they are not ours, so nothing is asked of them."""
    was, now = total(before.values()), total(after.values())
    return [
        figure("Ray's own: threads more than before", now.threads - was.threads, "threads"),
        figure("Ray's own: descriptors more than before", now.descriptors - was.descriptors, ""),
        figure("Ray's own: memory grown by", grown(was, now), "%"),
    ]


def grown(was: Holding, now: Holding) -> float:
    """Memory, in percent of what there was."""
    return 100 * (now.resident_bytes / was.resident_bytes - 1)


def opened(before: Look, after: Look) -> Iterator[str]:
    """Which kinds of descriptors there are more or fewer of, process by process."""
    for role, was in before.holdings.items():
        for kind in sorted({*was.kinds, *after.holdings[role].kinds}):
            more = after.holdings[role].kinds.get(kind, 0) - was.kinds.get(kind, 0)
            if more:
                yield f"{role}: {kind} {more:+}"


def measure(switches: int, warm_up: int, folder: Path) -> list[Figure]:
    """Switch that often, and tell what is left behind."""
    with Client() as client:
        ground = Ground(client, folder)
        with flowing(client) as flow:
            for _ in range(warm_up):
                ground.switch()
            before, rays, first = ground.seen(), ground.rays(), ground.epoch
            seen, start_s = list[tuple[int, Look]](), time.monotonic()
            for done in range(1, switches + 1):
                ground.switch()
                if done % EACH == 0:
                    seen.append((done, ground.seen(1)))
            took_s, last = time.monotonic() - start_s, ground.epoch
            after, rays_after = ground.seen(), ground.rays()
    for line in opened(before, after):
        print(f"descriptors of {line}", file=sys.stderr)
    rises = {
        role: slope([(done, one.holdings[role].resident_bytes) for done, one in seen if role in one.holdings])
        for role in before.holdings
    }
    return [
        figure("switches", switches, "switches"),
        figure("epochs that came and went", last - first, "epochs"),
        figure("a switch, with what stands by", took_s / switches, "s"),
        figure("requests answered meanwhile", flow.answered, "requests"),
        figure(f"requests failed{f': {flow.fault}' if flow.fault else ''}", flow.failed, "requests", target=0),
        *judged(before, after, rises, late=0 if warm_up >= WARM_UP else LATE),
        *told_of_ray(rays, rays_after),
    ]


def main() -> None:
    """Switch, count, report."""
    parser = argparse.ArgumentParser(description="What switches of epochs leave behind.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} switches")
    parser.add_argument("--switches", type=int, help=f"so many (without it {SWITCHES}, or {QUICK} with --quick)")
    options = parser.parse_args()
    switches, warm_up = (QUICK, QUICK_WARM_UP) if options.quick else (SWITCHES, WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder  # no cluster that was left running is joined
        figures = measure(options.switches or switches, warm_up, Path(folder))
    report("leaks", figures, json=options.json)


if __name__ == "__main__":
    main()
