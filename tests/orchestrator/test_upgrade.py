"""The order in which a cluster is upgraded, over a bond that only remembers what was asked."""

from typing import Any

import pytest

from nodes.code_version import code_version
from orchestrator.errors import ClusterError
from orchestrator.upgrade import Upgraded, upgrade

OLD, NEW = "0.0.9+wire1", code_version()


class FakeBond:
    """A cluster that tells these versions; `refuses` is a node whose worker can't be replaced."""

    def __init__(self, *, controller: str = OLD, by_hand: str = "", refuses: str = "", **workers: str) -> None:
        self.controller, self.by_hand, self.refuses, self.workers = controller, by_hand, refuses, workers
        self.replaced: list[str] = []

    def ask(self, method: str, *args: str) -> Any:
        if method == "status":
            about = {n: {"code": c, "by_hand": n == self.by_hand, "address": "h:1"} for n, c in self.workers.items()}
            return {"workers": about, "controller": {"code": self.controller}}
        assert method == "replace_worker" and args[1] == NEW
        if args[0] == self.refuses:
            raise ClusterError(f"node {args[0]}: it died")
        self.replaced.append(args[0])
        return 1.5

    def replace(self) -> None:
        self.replaced.append("the controller")


def upgraded(bond: FakeBond, *, every: bool = False) -> tuple[Upgraded, list[str]]:
    said: list[str] = []
    return upgrade(bond, every=every, say=said.append), said  # type: ignore[arg-type]


def test_workers_come_before_the_controller_and_each_is_told() -> None:
    bond = FakeBond(camera=OLD, cloud=OLD)
    done, said = upgraded(bond)
    assert bond.replaced == ["camera", "cloud", "the controller"]
    assert done == Upgraded(code=NEW, workers=("camera", "cloud"), by_hand=(), controller=True)
    assert said[0] == f"node camera: a new worker serves, {OLD} → {NEW}; 1.5 s"
    assert said[2] == f"controller: a new one goes on by the journal, {OLD} → {NEW}"


def test_what_tells_the_version_already_is_left_alone_unless_everything_is_asked_for() -> None:
    bond = FakeBond(camera=NEW, cloud=NEW, controller=NEW)
    assert upgraded(bond)[1] == [f"everything runs {NEW} already"]
    assert bond.replaced == []
    assert upgraded(bond, every=True)[1][0] == f"node camera: a new worker serves, {NEW} as before; 1.5 s"
    assert bond.replaced == ["camera", "cloud", "the controller"]


def test_after_a_worker_that_can_not_be_replaced_nothing_else_is() -> None:
    bond = FakeBond(camera=OLD, cloud=OLD, refuses="cloud")
    with pytest.raises(ClusterError, match="node cloud: it died"):
        upgraded(bond)
    assert bond.replaced == ["camera"]


def test_a_worker_that_was_started_by_hand_is_left_to_its_owner_and_named() -> None:
    bond = FakeBond(board=OLD, cloud=OLD, by_hand="board")
    done, said = upgraded(bond)
    assert (bond.replaced, done.by_hand) == (["cloud", "the controller"], ("board",))
    assert f"node board: its worker was started by hand at h:1: restart it there with {NEW}" in said
