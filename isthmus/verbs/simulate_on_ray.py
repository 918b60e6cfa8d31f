"""A grid of scenarios on a Ray of its own on this machine: one task a scenario and replication, Ray gone afterwards.

The results are those that simulations.run gives: a replication hangs on its scenario, seed and number alone.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator import local_cluster, ray_shell
from orchestrator.errors import ClusterError
from simulations.results import Outcome, Results
from simulations.running import replicating
from simulations.scenario import Scenario

Warn = Callable[[int, tuple[str, ...]], None]


def run_on_ray(
    scenarios: Sequence[Scenario],
    replications: Sequence[int],
    *,
    at_once: int,
    ended: Callable[[int], None] | None = None,
    warn: Warn | None = None,
) -> list[Results]:
    """Each scenario's results, in order; so many `replications` of each, `at_once` tasks at a time.

    `ended` hears of each run that is through, by its number: replications of the first scenario, then of the next.
    `warn(scenario, overloads)` hears of what is foreseen to be overloaded in a scenario, by its number, before that
    begins.
    What a task raised is raised here; ClusterError if Ray does not start or loses a task.
    """
    cluster = local_cluster.start(tied=True)
    try:
        ray_shell.connect(cluster.address, cluster.environ())
        outcomes = _outcomes(scenarios, replications, at_once, ended or _unheard, warn or _unheard)
    finally:  # also when this is interrupted: nothing that was started here may stay
        ray.shutdown()
        cluster.remove()
    return [Results(scenario=one, outcomes=tuple(each)) for one, each in zip(scenarios, outcomes, strict=True)]


def _outcomes(
    scenarios: Sequence[Scenario],
    replications: Sequence[int],
    at_once: int,
    ended: Callable[[int], None],
    warn: Warn,
) -> list[list[Outcome]]:
    # The head promises no cores; `at_once` bounds what runs. Each task tells of overloads first, then of its outcome.
    task = ray.remote(num_cpus=0, num_returns="streaming")(replicating)
    given = [ray.put(one) for one in scenarios]
    places = [(scenario, one) for scenario, many in enumerate(replications) for one in range(many)]
    found: list[list[Any]] = [[None] * many for many in replications]
    waiting, running = deque(enumerate(places)), dict[Any, int]()
    while waiting or running:
        while waiting and len(running) < at_once:
            number, (scenario, replication) = waiting.popleft()
            running[task.remote(given[scenario], replication)] = number
        (telling,), _ = ray.wait(list(running))
        number = running[telling]
        scenario, replication = places[number]
        told = _got(next(telling))
        if isinstance(told, Outcome):
            del running[telling]
            found[scenario][replication] = told
            ended(number)
        elif told and replication == 0:
            warn(scenario, told)
    return found


def _got(reference: Any) -> Outcome | tuple[str, ...]:
    try:
        told: Outcome | tuple[str, ...] = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ClusterError(
            f"Ray lost a simulation: {' '.join(str(error).split())}; ask for fewer --processes"
        ) from None
    return told


def _unheard(*_: object) -> None:
    """Nobody listens."""
