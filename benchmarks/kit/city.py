"""A city of users who walk among seven cells and ask two hosts; the live cores decide everything."""

from math import cos, pi, sin
from pathlib import Path
from time import process_time

from yaml import safe_load

from simulations.results import Outcome
from simulations.scenario_file import parse_scenario
from simulations.world import World

CITY = """
name: city
replications: 1
duration_s: {seconds}
cells: [{cells}]
nodes:
  - {{name: phone, tier: device, like: phone, active_w: 3}}
  - {{name: west, tier: edge, like: mec, servers: 8, active_w: 200}}
  - {{name: east, tier: edge, like: mec, servers: 8, active_w: 200}}
links: [{links}, {{between: [west, east], mbps: 10000, rtt_ms: 2}}]
pipelines:
  - name: see
    input_kb: 5
    steps:
      - {{name: shrink, ms: {{phone: 4, mec: 0.4}}, out_kb: 2, weights_mb: 1}}
      - {{name: find, ms: {{phone: 60, mec: 3}}, out_kb: 1, weights_mb: 8}}
      - {{name: name, ms: {{phone: 30, mec: 2}}, out_kb: 0.2, weights_mb: 8}}
users:
  - name: walkers
    count: {users}
    device: phone
    pipeline: see
    moving: {{kind: waypoints, area_m: [-250, -250, 250, 250], speeds_mps: [0.5, 2]}}
    asking: {{kind: poisson, per_s: {per_s}}}
    deadline_ms: 200
    budget_ms: 2000
policy: {{kind: {policy}}}
"""


def city(users: int, seconds: float, per_s: float = 1.0, policy: str = "adaptive") -> str:
    """A scenario file: a cell in the middle and six around it, 200 m apart, each next to one of two hosts."""
    masts = [(0.0, 0.0), *((200 * cos(pi / 3 * side), 200 * sin(pi / 3 * side)) for side in range(6))]
    cells = (
        f"{{name: c{at}, at_m: [{x:.1f}, {y:.1f}], band: {{ghz: 3.5, mhz: 100}}}}" for at, (x, y) in enumerate(masts)
    )
    links = (
        f"{{between: [c{at}, {'east' if x > 0 else 'west'}], mbps: 10000, rtt_ms: 1}}"
        for at, (x, _) in enumerate(masts)
    )
    return CITY.format(
        users=users, seconds=seconds, per_s=per_s, policy=policy, cells=", ".join(cells), links=", ".join(links)
    )


def cost_of(text: str) -> tuple[float, Outcome]:
    """The processor's seconds of a replication, reading the file apart."""
    scenario = parse_scenario(safe_load(text), where="city", folder=Path())
    began_s = process_time()
    outcome = World(scenario, 0).run()
    return process_time() - began_s, outcome
