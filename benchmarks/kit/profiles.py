"""Profiles timed again and again, round by round, and the median of them: so that a busy spell of the machine does not
stand for all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

from orchestrator.calibration import message_costs
from orchestrator.own_cluster import OwnCluster
from orchestrator.profiling import Bench, look_closer
from partitioner.plan import Plan
from partitioner.profile import Profile


async def timed_again(cluster: OwnCluster, bench: Bench, plans: Iterable[Plan], profile: Profile) -> Profile:
    """The profile with messages and the plans' segments timed once more, and no other segment."""
    each_s, byte_s = await message_costs(cluster.fleet, bench.spec.source, cluster.store)
    engines = {key: replace(engine, segment_s={}) for key, engine in profile.engines.items()}
    untimed = replace(profile, engines=engines, message_s=each_s, message_s_per_byte=byte_s)
    return await look_closer(bench, untimed, plans, title=bench.spec.name)


def combined(profiles: Sequence[Profile]) -> Profile:
    """The median of what several profiles say of segments and messages."""
    first = profiles[0]
    engines = {}
    for key, engine in first.engines.items():
        timed = [profile.engines[key].segment_s for profile in profiles]
        middle = {name: median([one[name] for one in timed if name in one]) for name in engine.segment_s}
        engines[key] = replace(engine, segment_s=middle)
    return replace(
        first,
        engines=engines,
        message_s=median([profile.message_s for profile in profiles]),
        message_s_per_byte=median([profile.message_s_per_byte for profile in profiles]),
    )
