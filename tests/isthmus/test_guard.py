"""A package of ours that would come from elsewhere is refused with its path."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from isthmus.guard import ForeignPackage, refuse_strangers


def test_our_own_packages_are_let_through() -> None:
    refuse_strangers()


@pytest.mark.parametrize("relative", ["nodes.py", "nodes/__init__.py"])
def test_a_stranger_first_on_the_path_is_refused_by_path(
    relative: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / relative).parent.mkdir(exist_ok=True)
    (tmp_path / relative).write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nodes", raising=False)
    with pytest.raises(ForeignPackage, match="rename it") as refusal:
        refuse_strangers()
    assert refusal.value.name == "nodes"
    assert refusal.value.path == str(tmp_path / relative.removesuffix("/__init__.py"))


def test_a_stranger_already_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "policies", ModuleType("policies"))
    monkeypatch.setattr(sys.modules["policies"], "__file__", "/elsewhere/policies.py", raising=False)
    with pytest.raises(ForeignPackage, match=r"/elsewhere/policies\.py"):
        refuse_strangers()


def test_a_package_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.guard.PACKAGES", ("a_package_nobody_has",))
    with pytest.raises(ForeignPackage, match="install isthmus again"):
        refuse_strangers()
