"""A client on one of the lab's hosts, told over its standard input what to do, a JSON list [method, *arguments] a line.

Each gets one line back: {"value": …} or {"error": …}. It plans from figures that are made up (a slow camera, a fast
cloud), so that a lab on one machine splits the model as real machines would, the same way every time.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from nodes.backend import Array
from orchestrator.answers import Answer
from orchestrator.blueprint import Blueprint
from orchestrator.client import Client
from orchestrator.links_seen import LinkEstimate
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.load import load
from partitioner.plan import Plan
from partitioner.profile import EngineKey, EngineProfile, Profile

WHOLE_MODEL_S = {"device": 0.8, "edge": 0.1, "cloud": 0.02}
SENDERS, IMAGES, BUDGET_S = 3, 4, 40.0
SAME = 1e-4  # relative: engines fuse differently across a cut


def made_up_profile(spec: DeploymentSpec, whole_s: Mapping[str, float]) -> Profile:
    """Every operator takes the same time; a tier's nodes take `whole_s` for all of them."""
    ready = prepare(spec)
    operators = [operator.name for operator in load(ready.path).graph.operators]
    engines = {}
    for node in spec.topology.nodes:
        key = EngineKey(node_class=node.name, backend="onnxruntime", threads=node.threads)
        each_s = whole_s[node.tier.name.lower()] / len(operators)
        engines[key] = EngineProfile(operator_s=dict.fromkeys(operators, each_s))
    return Profile(model=ready.sha256, engines=engines, message_s=1e-4)


def answers_of_whole(model: Path) -> list[tuple[dict[str, Array], Array]]:
    """Images with what the uncut model says of them."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    name = session.get_inputs()[0].name
    images = [rng.random((1, 3, 224, 224), np.float32) for _ in range(IMAGES)]
    return [({name: image}, session.run(None, {name: image})[0]) for image in images]


def difference(output: Array, wanted: Array) -> float:
    """Largest absolute difference over the largest magnitude."""
    return float(np.abs(np.subtract(output, wanted)).max() / np.abs(wanted).max())


def best_s(spec: DeploymentSpec, whole_s: Mapping[str, float], mbps: Mapping[str, float]) -> float:
    """Latency of the best plan of a spec where its links have these goodputs, by "source target"."""
    profile = made_up_profile(spec, whole_s)
    engines = {
        node.name: tuple(key for key in profile.engines if key.node_class == node.name) for node in spec.topology.nodes
    }
    blueprint = Blueprint(spec=spec, model=load(prepare(spec).path), profile=profile, engines=engines)
    ends = ((*pair.split(), rate) for pair, rate in mbps.items())
    found = blueprint.find(
        [LinkEstimate(source=a, target=b, bytes_per_s=rate * 125e3, propagation_s=5e-4) for a, b, rate in ends]
    )
    assert isinstance(found, Plan), found
    return found.predicted.latency_s


class Traffic:
    """Requests without a pause from SENDERS threads, each answer held against the whole model's."""

    def __init__(self, client: Client, name: str, known: list[tuple[dict[str, Array], Array]]) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self.difference = self.slowest_s = 0.0
        self._client, self._name, self._known = client, name, known
        self._ended = threading.Event()
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ended.is_set():
            feeds, wanted = self._known[self.answered % IMAGES]
            started_s = time.monotonic()
            try:
                answer = self._client.answer(self._name, feeds, timeout_s=BUDGET_S)
            except Exception as error:  # whatever it is, the request is lost
                with self._guard:
                    self.lost.append(f"{type(error).__name__}: {error}")
                continue
            (output,) = answer.outputs.values()
            with self._guard:
                self.answered += 1
                self.difference = max(self.difference, difference(output, wanted))
                self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)

    def counts(self) -> dict[str, Any]:
        return {
            "answered": self.answered,
            "lost": self.lost,
            "difference": self.difference,
            "slowest_s": self.slowest_s,
        }

    def stop(self) -> dict[str, Any]:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        return self.counts()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was due and answered (seconds since 1970), where, after how many attempts, and its fault."""

    sent_s: float
    done_s: float
    epoch: int
    attempt: int
    fault: str

    @property
    def latency_s(self) -> float:
        """From when it was due to its answer."""
        return self.done_s - self.sent_s


class Paced:
    """Requests at a steady rate, whatever becomes of those before: an open loop, as users are."""

    def __init__(
        self, client: Client, name: str, known: list[tuple[dict[str, Array], Array]], rate_per_s: float
    ) -> None:
        self._client, self._name, self._known, self._every_s = client, name, known, 1 / rate_per_s
        self.asked: deque[Asked] = deque()
        self._ended = threading.Event()
        self._in_hand: list[Future[Answer]] = []
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        self._client.join(self._name)
        due_s, number = time.time(), 0
        while not self._ended.wait(max(0.0, due_s - time.time())):
            feeds, wanted = self._known[number % IMAGES]
            future = self._client.submit(self._name, feeds, timeout_s=BUDGET_S)
            future.add_done_callback(partial(self._note, due_s, wanted))
            self._in_hand = [one for one in self._in_hand if not one.done()] + [future]
            due_s, number = due_s + self._every_s, number + 1

    def _note(self, sent_s: float, wanted: Array, future: "Future[Answer]") -> None:
        done_s = time.time()
        try:
            answer = future.result()
        except Exception as error:  # whatever it is, the request is lost
            self.asked.append(Asked(sent_s, done_s, 0, 0, f"{type(error).__name__}: {error}"))
            return
        (output,) = answer.outputs.values()
        apart = difference(output, wanted)
        fault = "" if apart < SAME else f"answer differs by {apart:.2g}"
        self.asked.append(Asked(sent_s, done_s, answer.epoch, answer.attempt, fault))

    def told(self, since_s: float) -> list[Asked]:
        """Requests sent since then that have ended, in the order they were sent."""
        return sorted((one for one in list(self.asked) if one.sent_s >= since_s), key=lambda one: one.sent_s)

    def stop(self) -> None:
        """Send no more and wait for what is in hand."""
        self._ended.set()
        self._thread.join()
        wait(self._in_hand)


class Driver:
    """The methods that may be named."""

    def __init__(self, address: str, token: str | None) -> None:
        self._client = Client(address, token=token)
        self._traffic: Traffic | None = None
        self._paced: Paced | None = None
        self._whole_s = WHOLE_MODEL_S

    def pretend(self, whole_s: dict[str, float]) -> None:
        """What the whole model is to take on a node of each tier, for what is deployed from now on."""
        self._whole_s = whole_s

    def deploy(self, spec: str) -> dict[str, Any]:
        wanted = load_spec(Path(spec))
        status = self._client.deploy(wanted, profile=made_up_profile(wanted, self._whole_s))
        return {"stages": [stage["node"] for stage in status["plan"]["stages"]], "epoch": status["epoch"]}

    def excess(self, name: str, spec: str, mbps: dict[str, float]) -> float:
        """What the cut in use takes where the links have these goodputs, over what the best one takes there."""
        wanted = load_spec(Path(spec))
        stages = self._client.status()["deployments"][name]["plan"]["stages"]
        pinned = tuple((operator, stage["node"]) for stage in stages for operator in stage["operators"])
        used, best = (best_s(one, self._whole_s, mbps) for one in (replace(wanted, pinned=pinned), wanted))
        return used / best

    def flow(self, name: str, spec: str) -> None:
        self._traffic = Traffic(self._client, name, answers_of_whole(load_spec(Path(spec)).model))

    def counts(self) -> dict[str, Any]:
        assert self._traffic is not None, "nothing flows"
        return self._traffic.counts()

    def stop(self) -> dict[str, Any]:
        assert self._traffic is not None, "nothing flows"
        return self._traffic.stop()

    def status(self) -> dict[str, Any]:
        return self._client.status()

    def pace(self, name: str, spec: str, rate_per_s: float) -> None:
        """Ask at this rate from now on."""
        self._paced = Paced(self._client, name, answers_of_whole(load_spec(Path(spec)).model), rate_per_s)

    def asked(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """What became of the requests that were sent since then."""
        assert self._paced is not None, "nothing is paced"
        return [asdict(one) for one in self._paced.told(since_s)]

    def unpace(self) -> None:
        """Ask no more."""
        assert self._paced is not None, "nothing is paced"
        self._paced.stop()

    def delete(self, name: str) -> None:
        self._client.delete(name)

    def shutdown(self) -> None:
        self._client.shutdown()

    def close(self) -> None:
        self._client.close()


def main() -> None:
    replies, sys.stdout = sys.stdout, sys.stderr  # whatever prints must not come between the replies
    driver = Driver(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            reply = {"value": getattr(driver, method)(*arguments)}
        except Exception as error:  # told to the test, which decides
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply, default=str) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
