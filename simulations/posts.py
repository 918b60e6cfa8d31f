"""The deployments of a replication with their control cores, and what these are told of links and machines.

One deployment a cell and kind of user, each with a control core of its own: "the device" is another one in each cell,
and what a core decides of one deployment hangs on nothing but its links and nodes.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from orchestrator.control import Control
from orchestrator.links_seen import LinkEstimate
from partitioner.plan import Plan
from partitioner.topology import NodeId, Tier
from policies.rebalance import rebalance
from simulations.air import DIRECTIONS
from simulations.build import Read
from simulations.deployments import Leg, blueprint_of, links_from, spent_over
from simulations.errors import SimulationsError
from simulations.own_rule import read_rule
from simulations.planning import Planner, on_grid
from simulations.radio.carrier import Direction
from simulations.requests import Fabric
from simulations.results import Notes
from simulations.routers import EPOCHS, Post, Rates, Routers, User
from simulations.scenario import Pipeline, Scenario
from simulations.shell import Shell
from simulations.ways import Service

UP_S = 5.0  # before the first request, in which deployments come up
MOVED = 0.05  # a link that is this much faster or slower than was told is told of again
STEPS, BACK_STEPS = 24, 6  # in a decade, of rates that are told, forth and back: equal questions are solved once
PROBED_STD, PROBED = 0.2, 32  # how sure probes are, and how many users are asked

Place = tuple[int, int]  # a cell's number, a kind of user's


class Posts:
    """All deployments of a scenario."""

    def __init__(
        self, scenario: Scenario, fabric: Fabric, routers: Routers, read: Read, services: Mapping[str, Service]
    ) -> None:
        """Nothing has come up yet. `read` and `services` are of pipelines, by name."""
        self.notes, self._services = Notes(), services
        self._scenario, self._fabric, self._routers = scenario, fabric, routers
        self.kinds = list(dict.fromkeys((group.pipeline, group.device) for group in scenario.groups))
        self._kind_of = [self.kinds.index((group.pipeline, group.device)) for group in scenario.groups]
        scaled = [one.name for one in scenario.pipelines if one.replicas > 1]
        self._scales = [pipeline in scaled for pipeline, _ in self.kinds]
        for machine in fabric.machines.values() if scaled else ():
            machine.loads = {}
        self._edge = {one.node.name: one for one in scenario.machines if one.node.tier is not Tier.DEVICE}
        policy = scenario.policy
        self._rule = rebalance if policy.rule is None else read_rule(policy.rule, policy.folder)
        self._planner, self._posts, self.shells = Planner(), dict[Place, Post](), dict[Place, Shell]()
        self._told: dict[Place, dict[tuple[str, str], LinkEstimate]] = {}
        self._gone: dict[tuple[int, NodeId], None] = {}  # what a cell does not reach, as everybody there knows
        self._here: list[list[int]] = []  # some users of each cell
        self._gather()
        pipelines = {one.name: one for one in scenario.pipelines}
        for cell in range(len(scenario.cells)):
            legs = self._leg(cell)[0]
            for kind, (pipeline, _) in enumerate(self.kinds):
                self._add(cell, kind, pipelines[pipeline], read, legs)

    def _add(self, cell: int, kind: int, pipeline: Pipeline, read: Read, leg: Leg) -> None:
        scenario, policy = self._scenario, self._scenario.policy
        links = self._links(cell, kind, leg)
        device, air = self.kinds[kind][1], self._fabric.air
        spent = spent_over(self._fabric.backhaul, scenario.cells[cell].name, device, links, air.power)
        blueprint = blueprint_of(scenario, pipeline, read[pipeline.name], device, links, spent)
        is_only = sum(one == pipeline.name for one, _ in self.kinds) == 1
        name = f"{pipeline.name}{'' if is_only else f' on {self.kinds[kind][1]}'}@{scenario.cells[cell].name}"
        outputs, service = read[pipeline.name][0].graph.outputs, self._services[pipeline.name]
        post = Post(name, len(self._routers.posts), outputs, service, self._routers)
        self._routers.posts.append(post)
        self._posts[cell, kind] = post
        post.sees(links, device, *self._usual(cell, leg))
        self._told[cell, kind] = {link.ends: link for link in links}
        self.shells[cell, kind] = Shell(
            self._fabric.engine,
            Control(min_gain=policy.min_gain, min_dwell_s=policy.min_dwell_s, drift=policy.drift, rule=self._rule),
            name,
            blueprint,
            self._planner,
            post,
            self.notes,
            kind=(kind, tuple(node.name for node in blueprint.spec.topology.nodes)),
            links_at=lambda up_bits_per_s: self._links(cell, kind, replace(leg, up_bits_per_s=up_bits_per_s)),
            is_static=policy.kind != "adaptive",
        )

    def deploy(self, users: list[User]) -> None:
        """Bring everything up, by time 0, and let each user join its cell's. SimulationsError for what did not."""
        for shell in self.shells.values():
            shell.deploy()
        self._fabric.engine.run(0.0)
        for post in self._posts.values():
            if post.current is None:
                raise SimulationsError(f"{post.name} did not come up within {UP_S:g} s")
        for user in users:
            self.move(user, self._fabric.air.cell_of[user.number])

    def move(self, user: User, cell: int) -> None:
        """The user is served by this cell from now on."""
        self.post(cell, user).join(user)

    def post(self, cell: int, user: User) -> Post:
        """Where users like this one ask while this cell serves them."""
        return self._posts[cell, self._kind_of[user.group]]

    def plan_at(self, user: User) -> Plan:
        """What the user's requests do now."""
        cell = self._fabric.air.cell_of[user.number]
        return self.shells[cell, self._kind_of[user.group]].plan

    def look(self) -> None:
        """Tell the control cores what has changed, and that time has passed."""
        for line in self._fabric.backhaul.lines.values():
            line.look(self._fabric.engine.now_s)
        self._gather()
        for cell in range(len(self._scenario.cells)):
            leg, std = self._leg(cell)
            for kind in range(len(self.kinds)):
                shell, post, told = self.shells[cell, kind], self._posts[cell, kind], self._told[cell, kind]
                device = self.kinds[kind][1]
                links = self._links(cell, kind, leg)
                are_new = post.sees(links, device, *self._usual(cell, leg))
                changed = [link for link in links if _differs(told.get(link.ends), link)]
                told |= {link.ends: link for link in changed}
                if are_new:
                    shell.vouch(tuple(_rounded(link, device) for link in told.values()))
                for link in changed:
                    shell.saw(_rounded(link, device), 1, std if device in link.ends else 0.0)
                if self._scales[kind]:
                    self._tell_loads(shell, post)
                shell.tick()

    def _tell_loads(self, shell: Shell, post: Post) -> None:
        """What each machine did of this deployment since the last look."""
        if post.current is None:
            return
        number, epoch = post.current, post.current % EPOCHS
        for stage in shell.plan_of(epoch).stages:
            for node in (stage.node, *stage.replicas):
                machine = self._fabric.machines.get(node)
                if machine is not None and machine.is_up:
                    load, queued = machine.load((number, stage.name))
                    shell.worked(epoch, stage.name, node, load, queued, self._scenario.policy.every_s)

    def _gather(self) -> None:
        """Who is asked in each cell."""
        self._here = [[] for _ in self._scenario.cells]
        for user, cell in enumerate(self._fabric.air.cell_of):
            if len(self._here[cell]) < PROBED:
                self._here[cell].append(user)

    def _leg(self, cell: int) -> tuple[Leg, float]:
        """What the radio gives here: as transfers of late did, else as probes would; and the less sure of both ways."""
        (up, up_std), (down, down_std) = (self._seen(cell, way) for way in DIRECTIONS)
        air, core_s = self._fabric.air, self._scenario.core_s
        up_s, down_s = (core_s + air.usual_wait_s(cell, way) for way in DIRECTIONS)
        return Leg(up_bits_per_s=up, down_bits_per_s=down, up_s=up_s, down_s=down_s), max(up_std, down_std)

    def _seen(self, cell: int, way: Direction) -> tuple[float, float]:
        sightings = self._fabric.seen_up[cell] if way == "up" else self._fabric.seen_down[cell]
        if (seen := sightings.look(self._fabric.engine.now_s)) is not None:
            return seen
        air = self._fabric.air
        rates = [air.free_bits_per_s(user, way) for user in self._here[cell]] or air.alone[way][:PROBED]
        return float(median(rates)), PROBED_STD

    def _usual(self, cell: int, leg: Leg) -> tuple[Rates, Rates]:
        """What users of this cell get, up and down, and what they would alone, in the median."""
        air = self._fabric.air
        here = self._here[cell] or range(len(air.cell_of))[:PROBED]
        up, down = (max(1.0, median(air.alone[way][user] for user in here)) for way in DIRECTIONS)
        return (max(1.0, leg.up_bits_per_s), max(1.0, leg.down_bits_per_s)), (up, down)

    def _links(self, cell: int, kind: int, leg: Leg) -> tuple[LinkEstimate, ...]:
        name, device = self._scenario.cells[cell].name, self.kinds[kind][1]
        return links_from(self._fabric.backhaul, name, device, self._edge, leg)

    def reach(self, notice_s: float) -> None:
        """Machines or wires have changed: what a cell reaches no more is known to be lost `notice_s` from now, unless
        it is back by then; what it reaches again is known at once.
        """
        for cell in range(len(self._scenario.cells)):
            for node in self._edge:
                is_gone = (cell, node) in self._gone
                if is_gone == self._reaches(cell, node):
                    if is_gone:
                        self._found(cell, node)
                    else:
                        self._fabric.engine.after(notice_s, self._lost, cell, node)

    def _reaches(self, cell: int, node: NodeId) -> bool:
        name, way = self._scenario.cells[cell].name, self._fabric.backhaul.way
        is_linked = way(name, node) is not None and way(node, name) is not None
        return is_linked and self._fabric.machines[node].is_up

    def _lost(self, cell: int, node: NodeId) -> None:
        if (cell, node) in self._gone or self._reaches(cell, node):
            return
        self._gone[cell, node] = None
        for kind in range(len(self.kinds)):
            self._posts[cell, kind].lose(node)
            self.shells[cell, kind].lost(node)

    def _found(self, cell: int, node: NodeId) -> None:
        del self._gone[cell, node]
        for kind in range(len(self.kinds)):
            self._posts[cell, kind].find(node)
            self.shells[cell, kind].joined(node)


def _rounded(link: LinkEstimate, device: NodeId) -> LinkEstimate:
    steps = BACK_STEPS if link.target == device else STEPS
    return replace(link, bytes_per_s=on_grid(link.bytes_per_s, steps))


def _differs(before: LinkEstimate | None, after: LinkEstimate) -> bool:
    if before is None:
        return True
    low, high = sorted((before.bytes_per_s, after.bytes_per_s))
    return high > low * (1 + MOVED) or abs(after.propagation_s - before.propagation_s) > 5e-4
