"""What a router tells the controller of its links: once a second, at once if one has changed."""

import asyncio
import math
from contextlib import suppress

from nodes.links import LinkEstimate
from orchestrator.bond import AWAY, Bond
from orchestrator.network import origin_of
from orchestrator.router import Router

OBSERVE_S = 0.25  # to look whether a link wants a probe
STEADY_S = 1.0  # from one word on a link that has not changed to the next
OBSERVED_S = 5.0  # for the controller to take it in
PROBE_BYTES = 64 << 10


async def tell_links(router: Router, bond: Bond) -> None:
    """Tell for ever; links that nothing is sent over are probed meanwhile."""
    told: dict[tuple[str, str], tuple[float, LinkEstimate]] = {}
    changed = router.links_changed
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), OBSERVE_S)
        changed.clear()
        await router.probe(PROBE_BYTES)
        now_s = asyncio.get_running_loop().time()
        news = []
        for (source, target), estimate in router.estimates().items():
            told_s, before = told.get((source, target), (-math.inf, LinkEstimate()))
            is_due = now_s - told_s >= STEADY_S and estimate.at_s != before.at_s
            if source and source != target and (is_due or estimate.changes != before.changes):
                told[source, target] = now_s, estimate
                rate, std, origin = estimate.goodput_bytes_per_s, estimate.goodput_std, origin_of(estimate.by_probes)
                news.append((source, target, rate, estimate.rtt_s, estimate.samples, std, origin))
        if news:
            with suppress(*AWAY):
                await asyncio.wait_for(bond.call("observe", news), OBSERVED_S)
