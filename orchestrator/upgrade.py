"""A cluster brought to this process's version of the code: one worker after the other, then the controller.

Each step leaves a cluster that serves, with two versions in it perhaps, so an upgrade that stops goes on when it is
asked for again. What a step does is upgrade_worker.py's business for workers, bond.py's for the controller.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nodes.code_version import code_version
from orchestrator.bond import Bond


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """What became of an upgrade to version `code`: nodes whose worker was replaced, and those left to their owners.

    `by_hand` are workers at an `address:` of their own that tell another version: nobody else can restart them.
    """

    code: str
    workers: tuple[str, ...]
    by_hand: tuple[str, ...]
    controller: bool


def upgrade(bond: Bond, *, every: bool, say: Callable[[str], None]) -> Upgraded:
    """Replace whatever tells another version than this process, or everything. ClusterError where that fails."""
    code = code_version()
    status: dict[str, Any] = bond.ask("status")
    stale = {node: facts for node, facts in status["workers"].items() if every or facts["code"] != code}
    by_hand = tuple(node for node, facts in stale.items() if facts.get("by_hand"))
    for node in [node for node in stale if node not in by_hand]:
        took_s = bond.ask("replace_worker", node, code)
        say(f"node {node}: a new worker serves, {_change(stale[node], code)}; {took_s:.1f} s")
    for node in by_hand:
        say(f"node {node}: its worker was started by hand at {stale[node]['address']}: restart it there with {code}")
    is_stale = every or status["controller"]["code"] != code
    if is_stale:
        bond.replace()
        say(f"controller: a new one goes on by the journal, {_change(status['controller'], code)}")
    if not (stale or is_stale):
        say(f"everything runs {code} already")
    replaced = tuple(node for node in stale if node not in by_hand)
    return Upgraded(code=code, workers=replaced, by_hand=by_hand, controller=is_stale)


def _change(facts: Mapping[str, Any], code: str) -> str:
    return f"{facts['code']} → {code}" if facts["code"] != code else f"{code} as before"
