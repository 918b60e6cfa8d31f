"""What tests of rollouts in the control core are built of: a wish, counts, a cluster with a version on trial."""

from orchestrator.events import NodeRoom, RolloutRequested, TrialObserved
from orchestrator.rollout_terms import RolloutTerms
from partitioner.plan import Plan
from policies.rollout import Tally, bucket
from tests.builders import CAMERA_CLOUD, CLOUD_CAMERA
from tests.orchestrator.cluster import Cluster, running

TERMS = RolloutTerms(min_requests=10, min_s=5.0, max_drift=None)


def rollout_requested(
    *, spec: str = "e" * 64, terms: RolloutTerms = TERMS, room: tuple[NodeRoom, ...] = ()
) -> RolloutRequested:
    """A wish to try another version of "classify" over the same link."""
    links = (CAMERA_CLOUD, CLOUD_CAMERA)
    return RolloutRequested(deployment="classify", spec=spec, terms=terms, links=links, room=room)


def counted(answered: int, failed: int = 0, *, latency_s: float = 0.01) -> Tally:
    """So many answers of the same latency, and failures."""
    reasons = (("fault", failed),) if failed else ()
    return Tally(answered=answered, failed=reasons, latencies=((bucket(latency_s), answered),))


def observed(cluster: Cluster, new: Tally, *, old: Tally | None = None, router: str = "r1") -> TrialObserved:
    """A router's counts of the trial as it stands; the old version's are good by default."""
    trial = cluster.control.deployments()["classify"].trial
    assert trial is not None and trial.epoch is not None
    return TrialObserved(
        deployment="classify", router=router, epoch=trial.epoch, step=trial.step, old=old or counted(90), new=new
    )


def trying(plan: Plan, terms: RolloutTerms = TERMS, *, room: tuple[NodeRoom, ...] = ()) -> Cluster:
    """A cluster on which version 1 runs in epoch 1 and version 2 is on trial in epoch 2."""
    cluster = running(plan, room=room)
    cluster.tell(rollout_requested(terms=terms, room=room))
    cluster.settle()
    cluster.kinds()
    return cluster


def promoted(plan: Plan, *, room: tuple[NodeRoom, ...] = ()) -> Cluster:
    """A cluster on which version 2 was judged good and has taken over."""
    cluster = trying(plan, room=room)
    cluster.now_s += 6.0
    cluster.tell(observed(cluster, counted(10)))
    cluster.settle()
    return cluster
