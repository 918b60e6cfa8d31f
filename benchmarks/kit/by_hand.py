"""A scenario whose every figure can be computed by hand: one cell of a constant rate, one machine, no radio channel."""

from pathlib import Path

from yaml import safe_load

from simulations.results import Outcome
from simulations.scenario_file import parse_scenario
from simulations.world import Row, World

BY_HAND = """
name: by-hand
duration_s: 120
replications: 1
radio: {core_ms: 3}
cells: [{name: cell, trace: {up: {mean_mbps: 20, variation: 0}, down: {mean_mbps: 80, variation: 0}}}]
nodes:
  - {name: phone, tier: device, like: phone, idle_w: 1, active_w: 4}
  - {name: mec, tier: edge, like: mec, servers: 2, idle_w: 50, active_w: 250, usd_per_hour: 2}
links: [{between: [cell, mec], mbps: 1000, rtt_ms: 4, j_per_mb: 0.1, usd_per_gb: 0.05}]
pipelines:
  - {name: see, input_kb: 100, steps: [{name: find, ms: {phone: 900, mec: 30}, out_kb: 10}], variation: VARIATION}
users:
  - name: walkers
    count: COUNT
    device: phone
    pipeline: see
    moving: {area_m: [0, 0, 1, 1]}
    asking: {kind: KIND, per_s: 0.5}
    deadline_ms: 1000
timeline: [{at_s: 90, users: walkers, ask_times: 1.0e-9}]
policy: {kind: edge}
"""


def ran(**changes: object) -> tuple[World, Outcome, list[Row]]:
    """The scenario above, changed so, and each request that ended; nobody asks after 90 s."""
    text = BY_HAND
    for name, value in changes.items():
        text = text.replace(name.upper(), str(value))
    world, rows = World(parse_scenario(safe_load(text), where="by-hand", folder=Path()), 0), list[Row]()
    world.on_row = rows.append
    return world, world.run(), rows
