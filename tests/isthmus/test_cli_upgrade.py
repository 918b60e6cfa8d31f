"""`isthmus upgrade`: a line for each step, and the exit status that says whether anything is left."""

import json

import pytest

from isthmus.verbs import upgrade
from orchestrator.upgrade import Upgraded
from tests.isthmus.conftest import Isthmus


class FakeClient:
    """Says one line and leaves these workers to their owners."""

    def __init__(self, *by_hand: str) -> None:
        self.by_hand, self.every = by_hand, False

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def upgrade(self, *, every: bool, say: object) -> Upgraded:
        assert callable(say)
        self.every = every
        say("node camera: a new worker serves")
        return Upgraded(code="0.2.0+wire3", workers=("camera",), by_hand=self.by_hand, controller=True)


@pytest.mark.parametrize(("by_hand", "status"), [((), 0), (("board",), 1)])
def test_each_step_is_a_line_and_what_is_left_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_hand: tuple[str, ...], status: int
) -> None:
    client = FakeClient(*by_hand)
    monkeypatch.setattr(upgrade, "joined", lambda _address: client)
    assert upgrade.upgrade_cluster(None, every=True, as_json=False) == status
    assert capsys.readouterr().out == "node camera: a new worker serves\n"
    assert client.every


def test_as_json_it_is_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(upgrade, "joined", lambda _address: FakeClient())
    assert upgrade.upgrade_cluster(None, every=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["workers"] == ["camera"]


def test_without_a_cluster_it_is_refused_in_one_line(isthmus: Isthmus) -> None:
    ended = isthmus("upgrade")
    assert ended.code == 1 and "nothing runs on this machine" in ended.line
