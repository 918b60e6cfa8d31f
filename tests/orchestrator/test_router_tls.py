"""A router, an agent and two workers that speak mutual TLS to each other, each a party of its own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nodes.tls import VARIABLE
from orchestrator.errors import RequestTimeout
from orchestrator.router import Router
from tests.nodes.certified import certified
from tests.orchestrator.small_site import WIDE, answer_of
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
pytest.importorskip("cryptography")
FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


@pytest.fixture
def pki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    certified(tmp_path / "pki", "host", "client")
    certified(tmp_path / "theirs", "thief")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "pki/host"))  # as `ray start` has it: agents hand it to their workers
    return tmp_path


@pytest.fixture
def secured(pki: Path) -> Iterator[WorkerSite]:
    held = WorkerSite(pki / "site")
    yield held
    held.close()


def test_two_workers_and_a_router_answer_under_mutual_tls(
    secured: WorkerSite, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        routes = await secured.load("secured", 1)
        monkeypatch.setenv(VARIABLE, str(pki / "pki/client"))
        router = Router(on_drained=lambda *_: None)
        try:
            await router.switch(routes)
            answer = await router.infer("secured", FEED, trace=True)
        finally:
            await router.close()
        assert [hop.stage for hop in answer.hops] == ["s1", "s2"]  # so the workers met each other, too
        assert np.allclose(answer.outputs["y"], answer_of(FEED["x"]), atol=1e-3)

    secured.do(story())


@pytest.mark.parametrize(
    ("shown", "said"), [("", "it speaks TLS only"), ("theirs/thief", "its certificate is of another CA than ca.pem")]
)
def test_a_router_of_others_gets_no_stream(
    secured: WorkerSite, pki: Path, monkeypatch: pytest.MonkeyPatch, shown: str, said: str
) -> None:
    async def story() -> None:
        routes = await secured.load("refused", 1)
        monkeypatch.setenv(VARIABLE, str(pki / shown) if shown else "")
        router = Router(on_drained=lambda *_: None)
        try:
            await router.switch(routes)
            with pytest.raises(RequestTimeout, match=said):
                await router.infer("refused", FEED, budget_s=1.0)
            monkeypatch.setenv(VARIABLE, str(pki / "pki/client"))  # mended while it runs
            answer = await router.infer("refused", FEED)
            assert np.allclose(answer.outputs["y"], answer_of(FEED["x"]), atol=1e-3)
        finally:
            await router.close()
            monkeypatch.setenv(VARIABLE, str(pki / "pki/host"))

    secured.do(story())
