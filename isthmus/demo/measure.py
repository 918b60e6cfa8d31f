"""What the demo does to a deployment: times placements, compares answers, and lets the link drop under traffic."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.demo.scenario import Case, blueprint
from nodes.backend import Array
from nodes.errors import NodesError
from nodes.program import Program
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from partitioner.cost import evaluate
from partitioner.errors import InvalidProblem
from partitioner.load import load
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile
from partitioner.topology import Link

RUNS, WARM_UP = 24, 4
SWITCH_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to place a case's model: predicted and measured p50 of a request, and the bytes it sends."""

    case: str
    name: str
    predicted_s: float | None
    measured_s: float | None
    bytes_sent: int | None
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A switch to another plan: why, and the seconds to its first answer from the link's change and from the decision.

    Routers may have sent requests to an epoch that stood by before that was decided.
    """

    why: str
    noticed_s: float
    switch_s: float


@dataclass(slots=True)
class Flow:
    """Requests kept flowing one after another: when each was answered (seconds since 1970) and in which epoch."""

    answered: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)
    answers: list[tuple[float, int]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


def placements_of(case: Case, profile: Profile) -> tuple[dict[str, Plan | str], Plan]:
    """All on each node, the fastest way or why not, and the chosen plan. InvalidProblem if none fits."""
    drawn = blueprint(case.spec, profile)
    problem = drawn.problem()
    chosen = drawn.find()
    if isinstance(chosen, Infeasible):
        raise InvalidProblem(f"{case.title}: {chosen.constraint}: {chosen.detail}")
    found: dict[str, Plan | str] = {}
    for node in case.spec.topology.nodes:
        if problem.private and node.name != case.spec.source:
            found[f"all-{node.name}"] = f"refused: pixels would leave the {case.spec.source}"
            continue
        sites = [site for site in problem.sites if site.node == node.name]
        plans = [evaluate(problem, (site,) * len(problem.graph.operators)) for site in sites]
        found[f"all-{node.name}"] = min(plans, key=lambda plan: plan.predicted.latency_s)
    return found, chosen


def time_placements(client: Client, case: Case, profile: Profile) -> list[Placement]:
    """Deploy each placement in turn and time requests, one in flight. The chosen plan comes last."""
    ways, chosen = placements_of(case, profile)
    request = case.requests[min(case.requests)]  # the first sample in the folder, which was profiled
    timed = []
    for name, plan in (*ways.items(), ("plan", chosen)):
        if isinstance(plan, str):
            timed.append(
                Placement(case=case.key, name=name, predicted_s=None, measured_s=None, bytes_sent=None, why_not=plan)
            )
            continue
        client.deploy(case.spec, profile=profile, plan=plan)
        spent = [client.answer(case.spec.name, request).latency_s for _ in range(WARM_UP + RUNS)]
        timed.append(
            Placement(
                case=case.key,
                name=name,
                predicted_s=plan.predicted.latency_s,
                measured_s=statistics.median(spent[WARM_UP:]),
                bytes_sent=sum(c.nbytes for c in plan.crossings if c.source != c.target),
            )
        )
    return timed


def whole_answers(case: Case, folder: Path) -> dict[str, dict[str, Array]]:
    """Each request answered by the whole model, here, with ONNX Runtime: what every split must agree with."""
    model = load(case.spec.model)
    everything = tuple(operator.name for operator in model.graph.operators)
    store = Store(folder)
    sha = stage_artifact(model, everything, model.graph.inputs, model.graph.outputs, store)
    program = Program.load(store.path(sha), backend="onnxruntime")
    try:
        return {name: program.run(request) for name, request in case.requests.items()}
    finally:
        program.close()


def difference(whole: Mapping[str, Array], split: Mapping[str, Array]) -> float:
    """Largest absolute difference of any output, over that output's largest magnitude."""
    return max(
        float(np.abs(whole[name].astype(np.float64) - split[name].astype(np.float64)).max() / np.abs(whole[name]).max())
        for name in whole
    )


def flow_through_drop(client: Client, case: Case, slow: tuple[Link, Link], fast: tuple[Link, Link]) -> Flow:
    """Requests flow while the link drops and returns; the flow, with what was decided after each change."""
    flow, ended = Flow(), threading.Event()
    sender = threading.Thread(target=_keep_asking, args=(client, case, flow, ended), name="demo-flow")
    sender.start()
    try:
        _wait_for(partial(_more_answers, flow, 10))
        for links in (slow, fast):
            before = len(_switches(client, case))
            changed_s = time.time()
            client.shape(*links)
            if not _wait_for(lambda before=before: len(_switches(client, case)) > before):  # type: ignore[misc]
                break
            _wait_for(partial(_more_answers, flow, flow.answered + 10))
            flow.decisions.append(_decision(client, case, flow, changed_s))
    finally:
        ended.set()
        sender.join()
    return flow


def _switches(client: Client, case: Case) -> list[dict[str, Any]]:
    """Switches of the deployment, as the controller noted them, each once however many routers it told."""
    history = [entry for entry in client.status()["history"] if entry["deployment"] == case.spec.name]
    told = [entry for entry in history if entry["what"] == "switch"]
    return [one for before, one in pairwise([{"epoch": None}, *told]) if one["epoch"] != before["epoch"]]


def _decision(client: Client, case: Case, flow: Flow, changed_s: float) -> Decision:
    switch = _switches(client, case)[-1]
    noted = client.status()["history"]
    at_s = [one["at_s"] for one in noted if one["epoch"] == switch["epoch"] and one["what"] in ("open", "switch")]
    decided_s = min(one for one in at_s if one > changed_s)
    answered_s = [one_s for one_s, epoch in flow.answers if epoch == switch["epoch"] and one_s > changed_s]
    after_s = next(one_s for one_s in answered_s if one_s > decided_s)
    return Decision(why=switch["why"], noticed_s=answered_s[0] - changed_s, switch_s=after_s - decided_s)


def _keep_asking(client: Client, case: Case, flow: Flow, ended: threading.Event) -> None:
    requests = list(case.requests.values())
    while not ended.is_set():
        try:
            answer = client.answer(case.spec.name, requests[flow.answered % len(requests)])
        except (NodesError, OrchestratorError) as fault:
            flow.lost += 1
            flow.faults.append(str(fault))
            continue
        flow.answered += 1
        flow.answers.append((time.time(), answer.epoch))


def _more_answers(flow: Flow, than: int) -> bool:
    return flow.answered > than


def _wait_for(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + SWITCH_S
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return False
