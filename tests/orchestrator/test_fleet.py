"""The fleet over fake agents (no worker, no Ray): who is brought up, what each is offered, how links are emulated."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import WorkerWanted
from orchestrator.errors import ClusterError
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.whereabouts import Whereabouts
from partitioner.topology import Link, Node, Tier, Topology
from tests.orchestrator.fake_agents import FakeAgent, fleet_of
from tests.orchestrator.small_site import site


def test_a_worker_is_brought_up_once_per_node() -> None:
    agent = FakeAgent()
    fleet = fleet_of(agent)
    asyncio.run(fleet.bring_up(site()))
    asyncio.run(fleet.bring_up(site()))
    assert agent.started == ["camera", "cloud"]


def test_a_node_without_a_working_engine_is_named_with_the_way_to_one() -> None:
    broken = {"onnxruntime": {"missing": 'import failed: pip install "isthmus[cpu]"'}}
    fleet = fleet_of(FakeAgent(engines={"cloud": broken}))
    with pytest.raises(
        ClusterError, match=r"node cloud: none of its backends onnxruntime runs there: .*isthmus\[cpu\]"
    ):
        asyncio.run(fleet.bring_up(site()))


def test_only_installed_engines_are_offered() -> None:
    nodes = tuple(replace(node, backends=("openvino", "onnxruntime")) for node in site().nodes)
    topology = Topology(nodes, site().links)
    fleet = fleet_of(FakeAgent())
    asyncio.run(fleet.bring_up(topology))
    assert {key.backend for keys in fleet.engines(topology).values() for key in keys} == {"onnxruntime"}


def test_nodes_of_one_machine_share_measurements_and_real_ones_do_not() -> None:
    even = site(slowdown=1)
    for emulated, classes in ((True, {"here"}), (False, {"camera", "cloud"})):
        fleet = fleet_of(FakeAgent(), emulated=emulated)
        asyncio.run(fleet.bring_up(even))
        assert {key.node_class for keys in fleet.engines(even).values() for key in keys} == classes


def test_a_slowdown_is_refused_on_real_machines() -> None:
    with pytest.raises(ClusterError, match="node camera: slowdown is for one machine only; leave it out on a cluster"):
        asyncio.run(fleet_of(FakeAgent(), emulated=False).bring_up(site(slowdown=2)))


def test_a_node_that_was_never_brought_up_is_named() -> None:
    with pytest.raises(ClusterError, match="no worker of node moon is held; deploy to it first"):
        fleet_of(FakeAgent()).member("moon")


def test_emulated_paths_lead_over_every_link_between() -> None:
    names = ("camera", "mec", "cloud")
    nodes = tuple(Node(name=name, tier=Tier.EDGE, backends=("onnxruntime",)) for name in names)
    hops = (("camera", "mec"), ("mec", "camera"), ("mec", "cloud"), ("cloud", "mec"))
    links = tuple(Link(source=a, target=b, bytes_per_s=1e6, propagation_s=1e-3) for a, b in hops)
    fleet = fleet_of(FakeAgent())
    asyncio.run(fleet.bring_up(Topology(nodes, links)))
    shaped, paths = fleet.emulation()
    assert len(shaped) == 4
    assert paths["camera", "cloud"] == (("camera", "mec"), ("mec", "cloud"))


class Unheard(FakeAgent):
    """An agent behind a cut cable: what it is asked is never answered."""

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        return await asyncio.get_running_loop().create_future()


def test_a_host_that_does_not_answer_is_asked_for_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.fleet.REACH_S", 0.01)

    async def story() -> None:
        with pytest.raises(ClusterError, match="node cloud: its host does not answer"):
            await asyncio.wait_for(fleet_of(Unheard()).rejoin(site().node("cloud")), 5)

    asyncio.run(story())


def test_a_lost_worker_is_found_or_started_again() -> None:
    agent = FakeAgent()
    fleet = fleet_of(agent)
    asyncio.run(fleet.bring_up(site()))
    fleet.lose("cloud")
    asyncio.run(fleet.rejoin(site().node("cloud")))
    assert agent.started == ["camera", "cloud", "cloud"]
    assert set(fleet.members()) == {"camera", "cloud"}


class Hosts:
    """The agents of a cluster: one here, and each host's own once it is `back`."""

    def __init__(self) -> None:
        self.here, self.back = FakeAgent(host="head", shares_disk=True), dict[str, FakeAgent]()

    async def find_agent(self, node: Node) -> AgentHandle:
        if node.address is not None:
            return self.here
        if node.name not in self.back:
            raise ClusterError(f"node {node.name}: no Ray host has its label")
        return self.back[node.name]

    def fleet(self, known: Whereabouts) -> Fleet:
        return Fleet(self.find_agent, emulated=False, whereabouts=known)


def remembered(path: Path) -> Whereabouts:
    """What an earlier controller kept of both workers."""
    known = Whereabouts(path)
    known.note("camera", "10.0.0.1:7070")
    known.note("cloud", "10.0.0.2:7070")
    return Whereabouts(path)


def test_a_worker_whose_host_is_not_in_ray_yet_is_claimed_from_afar(tmp_path: Path) -> None:
    hosts = Hosts()
    hosts.back["camera"] = FakeAgent(host="camera")
    fleet = hosts.fleet(remembered(tmp_path / "workers.json"))
    assert asyncio.run(fleet.adopt(site(slowdown=1))) == {}
    assert hosts.here.wanted == [WorkerWanted(node="cloud", address="10.0.0.2:7070")]
    assert fleet.member("cloud").wanted.address is None  # nobody started it by hand


def test_a_worker_claimed_from_afar_is_spoken_to_through_its_own_host_once_that_is_back(tmp_path: Path) -> None:
    hosts = Hosts()
    fleet = hosts.fleet(remembered(tmp_path / "workers.json"))

    async def story() -> None:
        await fleet.adopt(site(slowdown=1))
        await fleet.come_home()
        assert fleet.member("cloud").agent is hosts.here
        hosts.back["cloud"] = FakeAgent(host="cloud")
        await fleet.come_home()
        assert fleet.member("cloud").agent is hosts.back["cloud"]
        assert (fleet.member("camera").agent, hosts.here.let_go) == (hosts.here, ["cloud"])
        await fleet.come_home()
        assert hosts.back["cloud"].started == ["cloud"]  # once

    asyncio.run(story())


def test_a_worker_that_was_never_reached_is_away_with_its_host(tmp_path: Path) -> None:
    fleet = Hosts().fleet(Whereabouts(tmp_path / "workers.json"))
    assert asyncio.run(fleet.adopt(site(slowdown=1))) == {
        node: f"node {node}: no Ray host has its label" for node in ("camera", "cloud")
    }


def test_a_torn_file_of_addresses_is_taken_for_none(tmp_path: Path) -> None:
    kept = tmp_path / "workers.json"
    remembered(kept)
    kept.write_text(kept.read_text()[:-3])
    assert Whereabouts(kept).last("cloud") is None


def test_a_full_disk_keeps_no_worker_from_being_claimed_and_is_written_to_later(tmp_path: Path) -> None:
    kept = tmp_path / "away" / "workers.json"  # its folder is not there: nothing can be written
    known = Whereabouts(kept)
    known.note("camera", "10.0.0.1:7070")
    kept.parent.mkdir()
    known.note("camera", "10.0.0.1:7070")
    assert Whereabouts(kept).last("camera") == "10.0.0.1:7070"


def test_where_an_upgraded_worker_is_is_kept(tmp_path: Path) -> None:
    kept, agent = tmp_path / "workers.json", FakeAgent(host="camera")
    hosts = Hosts()
    hosts.back |= {"camera": agent, "cloud": agent}
    fleet = hosts.fleet(Whereabouts(kept))
    asyncio.run(fleet.bring_up(site(slowdown=1)))
    old = fleet.member("camera")
    reach = replace(old.found.reach, address="camera:2")
    fleet.move("camera", replace(old, found=replace(old.found, reach=reach)), [])
    assert Whereabouts(kept).last("camera") == "camera:2"


def test_a_worker_lost_while_its_host_is_asked_is_left_to_whoever_brings_it_back(tmp_path: Path) -> None:
    hosts = Hosts()
    fleet = hosts.fleet(remembered(tmp_path / "workers.json"))

    class Losing(FakeAgent):
        async def run(self, method: str, *args: Any, **options: Any) -> Any:
            if method == "answer":
                fleet.lose("camera")
                fleet.lose("cloud")
            return await super().run(method, *args, **options)

    async def story() -> None:
        await fleet.adopt(site(slowdown=1))
        hosts.back |= {"camera": Losing(), "cloud": Losing()}
        await fleet.come_home()
        assert (dict(fleet.members()), hosts.here.let_go) == ({}, [])

    asyncio.run(story())


def test_a_host_without_engines_is_asked_again_and_only_the_agent_here_lets_go(tmp_path: Path) -> None:
    hosts = Hosts()
    fleet = hosts.fleet(remembered(tmp_path / "workers.json"))
    bare = FakeAgent(engines={"cloud": {"onnxruntime": {"missing": "not yet"}}})

    async def story() -> None:
        await fleet.adopt(site(slowdown=1))
        hosts.back["cloud"] = bare
        await fleet.come_home()
        assert hosts.here.let_go == []
        bare.engines.clear()
        await fleet.come_home()
        assert (hosts.here.let_go, bare.let_go) == (["cloud"], [])

    asyncio.run(story())
