"""One replication of a scenario: everything built from its values and a seed, run, and counted.

Requests that come within the warm-up are simulated but not counted. What is still in hand at the end counts as asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from orchestrator.control import Control
from orchestrator.links_seen import LinkEstimate
from partitioner.load import Model
from partitioner.profile import Profile
from partitioner.topology import Tier
from simulations import crowd
from simulations.air import Air, Channel, Positions, RadioChannel, TracedChannel
from simulations.backhaul import Backhaul
from simulations.deployments import Leg, blueprint_of, links_from
from simulations.draws import Draws
from simulations.engine import Engine
from simulations.errors import SimulationsError
from simulations.machines import Machine
from simulations.models import read_pipeline
from simulations.requests import Fabric
from simulations.routers import NOTICE_S, Post, Request, Routers, User
from simulations.scenario import Change, Scenario, TracedLink, Wavering
from simulations.shell import Note, Planner, Shell
from simulations.tally import Tally
from simulations.traces.link_trace import LinkTrace
from simulations.wavering import drawn

Progress = Callable[[float], None]
UP_S = 5.0  # before the first request, in which deployments come up
MOVED = 0.05  # a link that is estimated to be this much faster or slower is told to the control core


@dataclass(slots=True)
class Outcome:
    """What one replication came to."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    requests: int = 0
    events: int = 0


class World:
    """All of a scenario, at a time."""

    def __init__(self, scenario: Scenario, replication: int, read: dict[str, tuple[Model, Profile]] | None = None) -> None:
        """`read` holds pipelines that were read before, by name."""
        self.scenario, self.engine = scenario, Engine(-UP_S)
        self._draws = Draws(scenario.seed, replication)
        self._read = read or {one.name: read_pipeline(one) for one in scenario.pipelines}
        self._edge = {one.node.name: one for one in scenario.machines if one.node.tier is not Tier.DEVICE}
        self.backhaul = Backhaul(self.engine, scenario.wires)
        self.air = self._air()
        self.machines = {
            name: Machine(self.engine, name, one.servers, one.rules, self._curve(one.profiled_as))
            for name, one in self._edge.items()
        }
        cells = tuple(cell.name for cell in scenario.cells)
        self.fabric = Fabric(self.engine, self.air, self.backhaul, self.machines, cells, scenario.core_s, self._stretch())
        self.users = [
            User(0, number, group.device) for number, group in enumerate(scenario.groups) for _ in range(group.count)
        ]
        for number, user in enumerate(self.users):
            user.number = number
        self.outcome = Outcome()
        self.all = self.outcome.tallies["all"] = Tally()
        self._of_group = [self.outcome.tallies.setdefault(group.name, Tally()) for group in scenario.groups]
        self.routers = Routers(self.fabric, self.users, self._ended)
        self._planner = Planner()
        self._shells: dict[tuple[int, int], Shell] = {}  # by cell and kind of user
        self._kinds = list(dict.fromkeys((group.pipeline, group.device) for group in scenario.groups))
        self._kind_of = [self._kinds.index((group.pipeline, group.device)) for group in scenario.groups]
        self._posts: dict[tuple[int, int], Post] = {}
        self._told: dict[tuple[int, int], dict[tuple[str, str], LinkEstimate]] = {}
        self._rates: dict[tuple[int, str], float] = {}
        self._deploy()
        self.air.on_handover = self._handed_over

    def run(self, progress: Progress | None = None) -> Outcome:
        """To the end."""
        scenario, engine = self.scenario, self.engine
        self._asks = [crowd.Asks(group, first, self._draws) for group, first in zip(scenario.groups, self._firsts(), strict=True)]
        self._windows = crowd.edges_s(scenario)
        for change in scenario.changes:
            engine.at(change.at_s, self._change, change)
        if self._moves():
            engine.after(scenario.step_s, self._step)
        engine.after(scenario.policy.every_s, self._look)
        self._feed([], 0)
        at_s = 0.0
        while at_s < scenario.duration_s:
            at_s = min(at_s + max(scenario.duration_s / 200, 1.0), scenario.duration_s)
            self.outcome.events += engine.run(at_s)
            if progress is not None:
                progress(at_s)
        return self._close()

    # What is built

    def _air(self) -> Air:
        scenario, draw = self.scenario, self._draws
        places = crowd.positions(scenario, draw)
        channel = self._channel(places)
        return Air(self.engine, channel, len(scenario.cells), scenario.generation, draw.of("waking"))

    def _channel(self, places: Positions) -> Channel:
        cells = self.scenario.cells
        stations = [cell.station for cell in cells if cell.station is not None]
        if stations:
            return RadioChannel(stations, places, self._draws.of("radio"))
        traces = [self._traces(cell.name, cell.traced) for cell in cells if cell.traced is not None]
        return TracedChannel(traces, np.array([cell.at_m for cell in cells]), places)

    def _traces(self, cell: str, traced: TracedLink) -> tuple[LinkTrace, LinkTrace]:
        up, down = (
            drawn(one, self.scenario.duration_s, self._draws.of(f"trace {way}", cell)) if isinstance(one, Wavering) else one
            for way, one in (("up", traced.up), ("down", traced.down))
        )
        return up, down

    def _curve(self, like: str) -> dict[int, float]:
        for _, profile in self._read.values():
            for key, engine in profile.engines.items():
                if key.node_class == like and engine.batch_s:
                    return dict(engine.batch_s)
        return {}

    def _stretch(self) -> Callable[[], float] | None:
        variation = max(pipeline.variation for pipeline in self.scenario.pipelines)
        if not variation:
            return None
        draw, sigma2 = self._draws.of("service"), float(np.log1p(variation**2))
        left: list[float] = []

        def stretch() -> float:
            if not left:
                left.extend(draw.lognormal(-sigma2 / 2, sigma2**0.5, 4096).tolist())
            return left.pop()

        return stretch

    def _firsts(self) -> list[int]:
        counts = [group.count for group in self.scenario.groups]
        return [sum(counts[:number]) for number in range(len(counts))]

    def _deploy(self) -> None:
        """A deployment for each cell and kind of user."""
        scenario = self.scenario
        for cell in range(len(scenario.cells)):
            self._look_at_air(cell)
            for kind, (pipeline, device) in enumerate(self._kinds):
                links = self._links(cell, kind)
                of = next(one for one in scenario.pipelines if one.name == pipeline)
                blueprint = blueprint_of(scenario, of, self._read[pipeline], device, links)
                name = f"{pipeline}@{scenario.cells[cell].name}"
                post = Post(name, len(self.routers.posts), self._read[pipeline][0].graph.outputs, self.routers)
                self.routers.posts.append(post)
                post.seen = {link.ends: link for link in links}
                policy = scenario.policy
                control = Control(min_gain=policy.min_gain, min_dwell_s=policy.min_dwell_s, drift=policy.drift)
                shell = Shell(
                    self.engine, control, name, blueprint, self._planner, post, self.outcome.notes,
                    kind=(kind, tuple(node.name for node in blueprint.spec.topology.nodes)),
                    is_static=policy.kind != "adaptive",
                )  # fmt: skip
                self._posts[cell, kind], self._shells[cell, kind] = post, shell
                self._told[cell, kind] = {link.ends: link for link in links}
                shell.deploy()
        self.engine.run(0.0)
        for post in self._posts.values():
            if post.current is None:
                raise SimulationsError(f"{post.name} did not come up within {UP_S:g} s")
        for user in self.users:
            self._posts[self.air.cell_of[user.number], self._kind_of[user.group]].join(user)

    # What is seen of links

    def _look_at_air(self, cell: int) -> None:
        """What a user of this cell gets each way: as transfers since the last look did, else what one more would."""
        for way, samples in (("up", self.fabric.up_samples[cell]), ("down", self.fabric.down_samples[cell])):
            rates = [bits / seconds for bits, seconds in samples if seconds > 0]
            if rates:
                self._rates[cell, way] = float(np.median(rates))
                samples.clear()
                continue
            here = [user for user, at in enumerate(self.air.cell_of) if at == cell][:32]
            alone = [self.air.free_bits_per_s(user, way) for user in here] or self._rates_elsewhere(way)  # type: ignore[arg-type]
            self._rates[cell, way] = float(np.median(alone))

    def _rates_elsewhere(self, way: str) -> list[float]:
        return self.air.alone[way]  # type: ignore[index]

    def _links(self, cell: int, kind: int) -> tuple[LinkEstimate, ...]:
        core_s = self.scenario.core_s
        leg = Leg(
            up_bits_per_s=self._rates[cell, "up"], down_bits_per_s=self._rates[cell, "down"],
            up_s=core_s + self.air.usual_wait_s(cell, "up"), down_s=core_s + self.air.usual_wait_s(cell, "down"),
        )  # fmt: skip
        return links_from(self.backhaul, self.scenario.cells[cell].name, self._kinds[kind][1], self._edge, leg)

    def _look(self) -> None:
        """Tell the control cores what has changed, and that time has passed."""
        self.routers.looks += 1
        for cell in range(len(self.scenario.cells)):
            self._look_at_air(cell)
            for kind in range(len(self._kinds)):
                shell, post, told = self._shells[cell, kind], self._posts[cell, kind], self._told[cell, kind]
                for link in self._links(cell, kind):
                    post.seen[link.ends] = link
                    if _differs(told.get(link.ends), link):
                        told[link.ends] = link
                        shell.saw(link, 1, 0.0)
                shell.tick()
        self.engine.after(self.scenario.policy.every_s, self._look)

    # What happens

    def _moves(self) -> bool:
        return True

    def _step(self) -> None:
        self.air.step(self.scenario.step_s)
        self.engine.after(self.scenario.step_s, self._step)

    def _handed_over(self, user: int, old: int, new: int) -> None:
        del old
        one = self.users[user]
        self._posts[new, self._kind_of[one.group]].join(one)

    def _feed(self, window: list[tuple[float, int]], at: int) -> None:
        """Let the next user ask, and after it the one that follows."""
        users, groups, routers = self.users, self.scenario.groups, self.routers
        engine = self.engine
        while at < len(window) and window[at][0] <= engine.now_s:
            user = users[window[at][1]]
            group = groups[user.group]
            if engine.now_s >= self.scenario.warmup_s:
                self.all.asked += 1
                self._of_group[user.group].asked += 1
            self.outcome.requests += 1
            routers.ask(user, group.deadline_s, group.budget_s)
            at += 1
        while at >= len(window):
            ends = next(self._windows, None)
            if ends is None:
                return
            window, at = crowd.together([asks.window(*ends) for asks in self._asks]), 0
        engine.at(max(window[at][0], engine.now_s), self._feed, window, at)

    def _change(self, change: Change) -> None:
        if change.wire is not None:
            self.backhaul.change(
                change.wire, bits_per_s=change.bits_per_s, propagation_s=change.propagation_s, is_up=change.is_up
            )
        elif change.node is not None:
            (self._lose if not change.is_up else self._find)(change.node)
        elif change.group is not None:
            names = [group.name for group in self.scenario.groups]
            self._asks[names.index(change.group)].change(change.times)

    def _lose(self, node: str) -> None:
        if self.machines[node].is_up:
            self.machines[node].fall()
            self.engine.after(NOTICE_S, self._lost, node)

    def _lost(self, node: str) -> None:
        self.routers.lose(node)
        for shell in self._shells.values():
            shell.lost(node)

    def _find(self, node: str) -> None:
        if not self.machines[node].is_up:
            self.machines[node].rise()
            self.routers.find(node)
            for shell in self._shells.values():
                shell.joined(node)

    def _ended(self, request: Request, kind: str) -> None:
        if request.began_s < self.scenario.warmup_s:
            return
        latency_s = self.engine.now_s - request.began_s
        attempt = request.attempt
        for tally in (self.all, self._of_group[request.user.group]):
            tally.tries += request.tries
            if kind or attempt is None:
                tally.fail(kind)
                continue
            tally.answered += 1
            tally.late += latency_s > request.deadline_s
            tally.latency.add(latency_s)
            tally.radio_s += attempt.radio_s
            tally.queue_s += attempt.queue_s
            tally.compute_s += attempt.compute_s
            tally.transfer_s += attempt.transfer_s
            known_s = attempt.radio_s + attempt.queue_s + attempt.compute_s + attempt.transfer_s
            tally.other_s += latency_s - known_s
            tally.sent_bytes += attempt.way.sent_bytes

    def _close(self) -> Outcome:
        outcome, span_s = self.outcome, self.scenario.duration_s - self.scenario.warmup_s
        for name, tally in outcome.tallies.items():
            prefix = "" if name == "all" else f"{name}."
            outcome.figures |= {f"{prefix}{key}": value for key, value in tally.figures(span_s).items()}
        outcome.figures["switches"] = float(sum(shell.switches for shell in self._shells.values()))
        outcome.figures["handovers"] = float(self.air.handovers)
        for name, machine in self.machines.items():
            machine.held.settle()
            servers = next(one.servers for one in self.scenario.machines if one.node.name == name)
            outcome.figures[f"{name}.utilisation"] = machine.held.busy_s / servers / self.engine.now_s
        return outcome


def _differs(before: LinkEstimate | None, after: LinkEstimate) -> bool:
    if before is None:
        return True
    low, high = sorted((before.bytes_per_s, after.bytes_per_s))
    return high > low * (1 + MOVED) or abs(after.propagation_s - before.propagation_s) > 5e-4


