"""Sequences end to end: what docs/sequences.md prints, deployed from its own YAML and measured, through a cluster."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.zoo.listening import chunks, speech
from nodes.backend import load_backend
from nodes.errors import BadInput
from orchestrator.client import Client
from partitioner.errors import InvalidModel
from tests.contracts.backend_models import zoo_model

pytestmark = pytest.mark.slow
DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/sequences.md").read_text()


def block(language: str) -> str:
    """The document's first block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOCUMENT, re.M | re.S)
    assert found is not None
    return found[1]


@pytest.fixture(name="spec")
def _spec(tmp_path: Path) -> Path:
    shutil.copy(zoo_model("silero"), tmp_path / "silero.onnx")
    path = tmp_path / "listen.yaml"
    path.write_text(block("yaml"))
    return path


def test_what_the_document_prints_hears_what_the_model_hears(
    shared_client: Client, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_client.deploy(spec)
    try:
        assert [one.name for one in shared_client.inputs("listen")] == ["chunk"]
        monkeypatch.setattr(isthmus, "Client", lambda: nullcontext(shared_client), raising=False)
        ran: dict[str, object] = {}
        exec(block("python"), ran)
        assert capsys.readouterr().out.startswith("32 chunks, speech in ")
        session = load_backend("onnxruntime").compile(zoo_model("silero"))
        np.testing.assert_allclose(ran["heard"], speech(ran["sound"], session.run), atol=1e-4)  # type: ignore[arg-type]
        session.close()
        with pytest.raises(BadInput, match="listen keeps state between requests"):
            shared_client.infer("listen", {"chunk": next(iter(chunks(np.zeros(512, np.float32))))})
    finally:
        shared_client.delete("listen")


def test_ends_that_do_not_agree_are_refused_before_anything_starts(shared_client: Client, spec: Path) -> None:
    spec.write_text(spec.read_text().replace("h_next: h,", "speech: h,"))
    told = r"state 'speech' → 'h': 'speech' is float32\[1\], 'h' is float32\[1, 1, 128\]; they must agree"
    with pytest.raises(InvalidModel, match=told):
        shared_client.deploy(spec)
