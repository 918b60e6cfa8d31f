"""A stage with two replicas, on real workers: one on the cloud, one on its twin."""

from dataclasses import replace

from orchestrator.artifacts import build
from orchestrator.blueprint import Blueprint
from orchestrator.replicas import crew_of, manned
from orchestrator.routes import EpochRoutes
from orchestrator.waymarks import routes_of
from partitioner.plan import Plan
from partitioner.topology import Link, Topology
from tests.orchestrator.small_site import site
from tests.orchestrator.worker_site import WorkerSite


def twin_clouds() -> Topology:
    """Camera, cloud and its twin."""
    plain = site(mbps=400, slowdown=2)
    cloud, twin = plain.node("cloud"), replace(plain.node("cloud"), name="twin")
    ends = (("camera", "cloud"), ("camera", "twin"), ("cloud", "twin"))
    links = [Link(source=a, target=b, bytes_per_s=5e7, propagation_s=1e-4) for a, b in ends]
    links += [replace(link, source=link.target, target=link.source) for link in links]
    return Topology((plain.node("camera"), cloud, twin), tuple(links))


async def loaded(workers: WorkerSite, blueprint: Blueprint) -> EpochRoutes:
    """One epoch: the first stage on the camera, the second on both clouds; the routes that lead into it."""
    await workers.fleet.bring_up(blueprint.spec.topology)
    found = blueprint.find()
    assert isinstance(found, Plan) and [stage.node for stage in found.stages] == ["camera", "cloud"]
    plan = manned(found, {found.stages[1].name: ("cloud", "twin")})
    where = {node: member.found.reach for node, member in workers.fleet.members().items()}
    built = build(
        plan, blueprint.model, workers.store, deployment="two", epoch=1, topology=blueprint.spec.topology,
        reaches=where, sequence=blueprint.spec.sequence,
    )  # fmt: skip
    for stage in reversed(plan.stages):
        for node in crew_of(stage):
            one = built[stage.name].on(node)
            await workers.fleet.give(node, one.folder, one.spec.artifact)
            await workers.fleet.call(node, "load_stage", one.spec)
    return routes_of(workers.fleet, blueprint, plan, "two", 1)
