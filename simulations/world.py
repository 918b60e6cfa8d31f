"""One replication of a scenario: built from its values and a seed, run to its end, and counted.

Requests that come within the warm-up are simulated but not counted. What is still in hand at the end counts as asked.
"""

from collections.abc import Callable

from partitioner.topology import Tier
from simulations import build, crowd, ledger
from simulations.draws import Draws
from simulations.foresight import foreseen
from simulations.models import read_pipeline
from simulations.posts import UP_S, Posts
from simulations.results import Outcome
from simulations.routers import Request, Routers
from simulations.scenario import Change, Scenario
from simulations.series import Series, every_s
from simulations.stations import Queue
from simulations.tally import Tally

Progress = Callable[[float], None]
Row = tuple[int, str, float, float, str, int, float, float, float, float, int, int]
BROKEN_S, SILENT_S = 0.1, 4.0  # until a worker's death is noticed: its streams break; and until a cut cable is
COLUMNS = (
    "user", "group", "began_s", "latency_s", "failed", "epoch", "radio_s", "queue_s", "compute_s", "transfer_s",
    "sent_bytes", "tries",
)  # fmt: skip


class World:
    """All of a scenario, at a time. `on_row` hears of each request that has ended, as COLUMNS name it."""

    def __init__(
        self, scenario: Scenario, replication: int, read: build.Read | None = None, *, compiled: bool | None = None
    ) -> None:
        """`read` holds pipelines that were read before, by name; `compiled`: None for what suits the scenario."""
        read = read or {one.name: read_pipeline(one) for one in scenario.pipelines}
        self.scenario, self._replication = scenario, replication
        self._draws = Draws(scenario.seed, replication)
        is_compiled = build.is_large(scenario) if compiled is None else compiled
        self.fabric = build.fabric(scenario, self._draws, -UP_S, compiled=is_compiled)
        self.engine, self.air, self.backhaul = self.fabric.engine, self.fabric.air, self.fabric.backhaul
        self.machines = self.fabric.machines
        self._cells = tuple(cell.name for cell in scenario.cells)
        self.users = build.users(scenario)
        self.groups = [Tally() for _ in scenario.groups]
        self.routers = Routers(self.fabric, self.users, self._ended)
        services = build.services(scenario, self._draws, read)
        self.posts = Posts(scenario, self.fabric, self.routers, read, services)
        self._series = Series(self._cells)
        self._requests = self._events = 0
        self._overloads: tuple[str, ...] | None = None
        self.on_row: Callable[[Row], None] | None = None

    def begin(self) -> tuple[str, ...]:
        """Bring everything up, by time 0: what is foreseen to be overloaded, a line each."""
        self.posts.deploy(self.users)
        self.air.on_handover = lambda user, old, new: self.posts.move(self.users[user], new)
        self._overloads = self._foreseen()
        return self._overloads

    def run(self, progress: Progress | None = None) -> Outcome:
        """To the end."""
        scenario, engine = self.scenario, self.engine
        if self._overloads is None:
            self.begin()
        firsts = build.first_users(scenario)
        self._asks = [
            crowd.Asks(group, first, self._draws, scenario.changes)
            for group, first in zip(scenario.groups, firsts, strict=True)
        ]
        self._windows = crowd.edges_s(scenario)
        for change in scenario.changes:
            engine.at(change.at_s, self._change, change)
        engine.after(scenario.step_s, self._step)
        engine.after(scenario.policy.every_s, self._look)
        engine.after(every_s(scenario.duration_s), self._sample)
        self._feed([], 0)
        at_s = 0.0
        while at_s < scenario.duration_s:
            at_s = min(at_s + max(scenario.duration_s / 200, 1.0), scenario.duration_s)
            self._events += engine.run(at_s)
            if progress is not None:
                progress(at_s)
        return self._outcome()

    def _foreseen(self) -> tuple[str, ...]:
        alone, cells, parts = self.air.alone, self.air.cell_of, self.air.parts_up
        users = (
            (
                user.group,
                self._cells[cells[user.number]],
                self.posts.plan_at(user),
                alone["up"][user.number] / parts[user.number],  # of its cell's band, it needs that part only
                alone["down"][user.number],
            )
            for user in self.users
        )
        return foreseen(self.scenario, users, self.backhaul.laid)

    # What happens again and again

    def _step(self) -> None:
        self.air.step(self.scenario.step_s)
        self.engine.after(self.scenario.step_s, self._step)

    def _look(self) -> None:
        self.posts.look()
        self.engine.after(self.scenario.policy.every_s, self._look)

    def _sample(self) -> None:
        span_s = every_s(self.scenario.duration_s)
        self._series.sample(self.engine.now_s, span_s, self.groups, self.air, self.machines, self.backhaul)
        self.engine.after(span_s, self._sample)

    def _feed(self, window: list[tuple[float, int]], at: int) -> None:
        """Let those ask whose time it is; then again at the next one's."""
        users, groups, engine, warmup_s = self.users, self.scenario.groups, self.engine, self.scenario.warmup_s
        now_s = engine.now_s
        while True:
            while at < len(window) and window[at][0] <= now_s:
                user = users[window[at][1]]
                group = groups[user.group]
                if now_s >= warmup_s:
                    self.groups[user.group].asked += 1
                self._requests += 1
                self.routers.ask(user, group.deadline_s, group.budget_s)
                at += 1
            if at < len(window):
                engine.at(window[at][0], self._feed, window, at)
                return
            ends = next(self._windows, None)
            if ends is None:
                return
            window, at = crowd.together([asks.window(*ends) for asks in self._asks]), 0
            if not window:
                engine.at(ends[1], self._feed, window, 0)
                return

    # What happens once

    def _change(self, change: Change) -> None:
        """Of a wire or a machine; those of groups are in their arrivals."""
        if change.wire is not None:
            rate, delay_s = change.bits_per_s, change.propagation_s
            self.backhaul.change(change.wire, bits_per_s=rate, propagation_s=delay_s, is_up=change.is_up)
            self.posts.reach(SILENT_S)
        elif change.node is not None and change.is_up != self.machines[change.node].is_up:
            if change.is_up:
                self.machines[change.node].rise()
            else:
                self.machines[change.node].fall()
            self.posts.reach(BROKEN_S)

    def _ended(self, request: Request, kind: str) -> None:
        user, attempt, latency_s = request.user, request.attempt, self.engine.now_s - request.began_s
        if request.began_s >= self.scenario.warmup_s:
            tally = self.groups[user.group]
            tally.tries += request.tries
            if kind or attempt is None:
                tally.fail(kind)
            else:
                tally.answer(latency_s, latency_s > request.deadline_s, attempt)
        if self.on_row is not None:
            hops = (0.0, 0.0, 0.0, 0.0) if attempt is None else attempt.hops
            sent = 0 if attempt is None else attempt.way.sent_bytes
            group = self.scenario.groups[user.group].name
            self.on_row(
                (user.number, group, request.began_s, latency_s, kind, request.epoch, *hops, sent, request.tries)
            )

    def _outcome(self) -> Outcome:
        scenario = self.scenario
        span_s = scenario.duration_s - scenario.warmup_s
        self._count_open()
        tallies = {"all": self.all()} | {group.name: self.groups[at] for at, group in enumerate(scenario.groups)}
        figures = {
            f"{'' if name == 'all' else f'{name}.'}{key}": value
            for name, tally in tallies.items()
            for key, value in tally.figures(span_s).items()
        }
        figures |= self._loads()
        lines = self.backhaul.lines.values()
        devices: dict[str, list[Queue]] = {}
        for number, queue in self.fabric.devices.items():
            devices.setdefault(self.users[number].device, []).append(queue)
        figures |= ledger.energy(scenario, self.machines, devices, lines, self.air.spent_j)
        figures |= ledger.cost(scenario, lines)
        return Outcome(
            replication=self._replication,
            figures=figures,
            notes=self.posts.notes.told(),
            series={name: tuple(column) for name, column in self._series.columns.items()},
            latency_cdf={name: tally.latency.cdf() for name, tally in tallies.items()},
            requests=self._requests,
            events=self._events,
            overloads=self._overloads or (),
        )

    def _count_open(self) -> None:
        """Those who still wait."""
        for user in self.users:
            for request in user.in_hand.values():
                if request.began_s >= self.scenario.warmup_s:
                    self.groups[user.group].leave(self.engine.now_s - request.began_s > request.deadline_s)

    def all(self) -> Tally:
        """All groups together."""
        together = Tally()
        for tally in self.groups:
            together.add_all(tally)
        return together

    def _loads(self) -> dict[str, float]:
        """Switches, handovers, and how busy everything was over the whole time."""
        span_s = self.scenario.duration_s
        found = {
            "switches": float(sum(shell.switches for shell in self.posts.shells.values())),
            "handovers": float(self.air.handovers),
            "radios_woken": float(self.air.woken),
        }
        for spec in self.scenario.machines:
            if spec.node.tier is not Tier.DEVICE:
                held = self.machines[spec.node.name].held
                held.settle()
                found[f"{spec.node.name}.utilisation"] = held.busy_s / spec.servers / span_s
                found[f"{spec.node.name}.refused"] = float(held.refused)
        found["refused"] = sum(value for name, value in found.items() if name.endswith(".refused"))
        for (source, target), line in self.backhaul.lines.items():
            line.shared.settle()
            found[f"{source} → {target}.link_load"] = line.shared.used_s / span_s
        for number, cell in enumerate(self._cells):
            for way, stations in self.air.shared.items():
                stations[number].settle()
                found[f"{cell}.{way}_load"] = stations[number].used_s / span_s
        return found
