"""A plan's stages composed in Ray Serve, as a peer: each a deployment, its answer handed on by reference.

Runs in a Ray of its own that is gone afterwards. Replicas load the very artifacts that our workers load.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import ray
from ray import serve

from nodes.backend import Array
from nodes.program import Program
from nodes.store import Store
from orchestrator import local_cluster, ray_shell
from orchestrator.artifacts import stage_artifact
from orchestrator.routes import onward, returned
from partitioner.load import Model
from partitioner.plan import Plan

OWN = {"num_cpus": 0}
Passed = tuple[Mapping[str, Array], float]  # tensors, and the seconds that stages have run so far


class Piece:
    """A stage: what it is given and makes, less what nobody after it needs."""

    def __init__(self, folder: str, gives: tuple[str, ...]) -> None:
        self._program = Program.load(Path(folder))
        self._gives = gives

    def __call__(self, passed: Passed) -> Passed:
        """Run the stage."""
        tensors, spent_s = passed
        started_s = perf_counter()
        made = self._program.run({spec.name: tensors[spec.name] for spec in self._program.inputs})
        spent_s += perf_counter() - started_s
        known = {**tensors, **made}
        return {name: known[name] for name in self._gives}, spent_s


@contextmanager
def serve_pipeline(
    plan: Plan, model: Model, store: Store, feeds: Mapping[str, Array]
) -> Iterator[Callable[[int], float]]:
    """A function of a number of requests, one at a time: median seconds per message beside the stages' runs."""
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    cluster = local_cluster.start(tied=True)
    try:
        ray_shell.connect(cluster.address, cluster.environ())
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        handles = [_deployed(plan, index, model, store) for index in range(len(plan.stages))]

        def hop_s(count: int) -> float:
            return median([_request_s(handles, feeds) for _ in range(count + 3)][3:]) / (len(handles) + 1)

        yield hop_s
    finally:
        ray.shutdown()
        cluster.remove()


def _deployed(plan: Plan, index: int, model: Model, store: Store) -> Any:
    stage = plan.stages[index]
    sha = stage_artifact(model, stage.operators, stage.inputs, stage.outputs, store)
    messages = (onward(plan, stage), returned(plan, stage))
    gives = tuple(name for message in messages if message is not None for name in message.tensors)
    deployment = serve.deployment(Piece).options(name=stage.name, ray_actor_options=OWN, max_ongoing_requests=64)
    return serve.run(deployment.bind(str(store.path(sha)), gives), name=stage.name, route_prefix=None)


def _request_s(handles: list[Any], feeds: Mapping[str, Array]) -> float:
    """Seconds of one request less the stages' runs."""
    started_s = perf_counter()
    passed: Any = (feeds, 0.0)
    for handle in handles:
        passed = handle.remote(passed)
    _, spent_s = passed.result()
    return perf_counter() - started_s - float(spent_s)
