"""A client on one of the lab's hosts, told over its standard input what to do, a JSON list [method, *arguments] a line.

Each gets one line back: {"value": …} or {"error": …}. It plans from figures that are made up (a slow camera, a fast
cloud), so that a lab on one machine splits the model as real machines would, the same way every time.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from nodes.backend import Array
from orchestrator.client import Client
from orchestrator.model_file import prepare
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.load import load
from partitioner.profile import EngineKey, EngineProfile, Profile

WHOLE_MODEL_S = {"device": 0.8, "edge": 0.1, "cloud": 0.02}
SENDERS, IMAGES, BUDGET_S = 3, 4, 40.0


def made_up_profile(spec: DeploymentSpec) -> Profile:
    """Every operator takes the same time; a tier's nodes take WHOLE_MODEL_S for all of them."""
    ready = prepare(spec)
    operators = [operator.name for operator in load(ready.path).graph.operators]
    engines = {}
    for node in spec.topology.nodes:
        key = EngineKey(node_class=node.name, backend="onnxruntime", threads=node.threads)
        each_s = WHOLE_MODEL_S[node.tier.name.lower()] / len(operators)
        engines[key] = EngineProfile(operator_s=dict.fromkeys(operators, each_s))
    return Profile(model=ready.sha256, engines=engines, message_s=1e-4)


def answers_of_whole(model: Path) -> list[tuple[dict[str, Array], Array]]:
    """Images with what the uncut model says of them."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    name = session.get_inputs()[0].name
    images = [rng.random((1, 3, 224, 224), np.float32) for _ in range(IMAGES)]
    return [({name: image}, session.run(None, {name: image})[0]) for image in images]


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
                self.difference = max(self.difference, float(np.abs(output - wanted).max() / np.abs(wanted).max()))
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


class Driver:
    """The methods that may be named."""

    def __init__(self, address: str, token: str | None) -> None:
        self._client = Client(address, token=token)
        self._traffic: Traffic | None = None

    def deploy(self, spec: str) -> dict[str, Any]:
        wanted = load_spec(Path(spec))
        status = self._client.deploy(wanted, profile=made_up_profile(wanted))
        return {"stages": [stage["node"] for stage in status["plan"]["stages"]], "epoch": status["epoch"]}

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
