"""`isthmus demo`: the main job on this machine, with real weights, real processes and emulated links."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from isthmus.demo import measure
from isthmus.demo.report import Outcome, labels_table, placements_table
from isthmus.demo.scenario import (
    CLOUD_MBPS,
    CLOUD_RTT_MS,
    FAST_MBPS,
    RTT_MS,
    SLOW_MBPS,
    Case,
    Choice,
    both_ways,
    cases,
    choice_at,
    choose_slowdown,
    least_gain,
    site,
    with_topology,
)
from isthmus.demo.settling import settled
from isthmus.render import milliseconds, plan_picture
from isthmus.terminal import progress, show, show_json
from isthmus.zoo.photos import labels
from nodes.backend import Array
from orchestrator.client import Client
from partitioner.profile import Profile


def run_demo(*, as_json: bool) -> int:
    """Run it and print what was seen; 1 if a promise was broken, else 0."""
    tell = _Teller(quiet=as_json)
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="isthmus-demo-") as scratch, Client() as client:
        free, private = cases(site(1.0), Path(scratch))
        with progress("profiling the classifier on each engine"):
            choice = _settled(client, private)
        outcome.slowdown = choice.slowdown
        tell.site(choice.slowdown, least_gain(choice))
        for case in (with_topology(free, site(choice.slowdown)), with_topology(private, site(choice.slowdown))):
            with progress(f"profiling case {case.key}"):
                profile, _ = client.profile(case.spec)
            _run_case(client, case, profile, outcome, Path(scratch), tell)
        _drop(client, case, profile, outcome, tell)
    broken = outcome.broken()
    if as_json:
        show_json(outcome.to_json())
    tell.summary(outcome, broken)
    return 1 if broken else 0


def _settled(client: Client, private: Case) -> Choice:
    def measure(slowdown: float) -> Profile:
        return client.profile(with_topology(private, site(slowdown)).spec)[0]

    return settled(measure, partial(choose_slowdown, private), partial(choice_at, private))


def _run_case(client: Client, case: Case, profile: Profile, outcome: Outcome, scratch: Path, tell: "_Teller") -> None:
    """Time every placement, then answer each photograph by the chosen plan and by the whole model."""
    with progress(f"case {case.key}: timing placements"):
        timed = measure.time_placements(client, case, profile)
    outcome.placements += timed
    outcome.requests += sum(measure.RUNS + measure.WARM_UP for p in timed if p.measured_s is not None)
    plan = client.plan(case.spec.name)
    outcome.split[case.key] = plan.is_split
    names = labels()
    for photo, whole in measure.whole_answers(case, scratch / "whole").items():
        split = client.infer(case.spec.name, case.requests[photo])
        outcome.requests += 1
        outcome.differences.append(measure.difference(whole, split))
        outcome.labels[f"{photo} ({case.key})"] = (_label(whole, names), _label(split, names))
    tell.case(case, plan_picture(plan), placements_table(timed))


def _drop(client: Client, case: Case, profile: Profile, outcome: Outcome, tell: "_Teller") -> None:
    """The uplink drops while requests flow, and returns."""
    client.deploy(case.spec, profile=profile)
    slow, fast = (both_ways("camera", "mec", mbps, RTT_MS) for mbps in (SLOW_MBPS, FAST_MBPS))
    with progress("the uplink drops, and returns, while requests flow"):
        outcome.flow = measure.flow_through_drop(client, case, slow, fast)
    tell.drop(outcome)


def _label(outputs: dict[str, Array], names: list[str]) -> str:
    return names[int(np.argmax(outputs["logits"]))]


class _Teller:
    """What the demo says to people, or nothing with --json."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def _say(self, *lines: RenderableType) -> None:
        if not self._quiet:
            for line in lines:
                show(line)

    def site(self, slowdown: float, gain: float) -> None:
        self._say(
            f"\n[bold]The site[/bold]  camera (device: onnxruntime, 1 thread, slowed {slowdown:g}×) "
            f"── {FAST_MBPS:g} Mbps, {RTT_MS:g} ms ── mec (edge) ── {CLOUD_MBPS:g} Mbps, {CLOUD_RTT_MS:g} ms ── cloud",
            f"The camera's slowdown is computed from the profile, so that splitting on the fast link and going back on "
            f"a slow one ({SLOW_MBPS:g} Mbps) each gain at least {gain:.0%}.",
        )

    def case(self, case: Case, picture: RenderableType, table: RenderableType) -> None:
        self._say(f"\n[bold]Case {case.key}[/bold]  {case.title}", picture, table)

    def drop(self, outcome: Outcome) -> None:
        self._say(f"\n[bold]The uplink drops to {SLOW_MBPS:g} Mbps and returns[/bold], requests flowing")
        for decision in outcome.flow.decisions:
            self._say(
                f"  {decision.why}: answered by the new plan {milliseconds(decision.noticed_s)} after the change, "
                f"{milliseconds(decision.switch_s)} after the decision"
            )

    def summary(self, outcome: Outcome, broken: list[str]) -> None:
        self._say(
            "",
            labels_table(outcome.labels),
            f"\nlargest difference to the whole model: {outcome.max_difference:.2e}",
            f"prediction error: {outcome.prediction_error:.1%}",
            f"requests: {outcome.to_json()['requests']}, requests lost: {outcome.flow.lost}",
        )
        for promise in broken:
            self._say(f"[red]broken promise: {promise}[/red]")
