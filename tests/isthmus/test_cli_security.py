"""`isthmus certificates`, `isthmus sign` and `--trust` as people type them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.tls import identity_in
from orchestrator.signing import verify
from tests.orchestrator.small_site import two_layers

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("cryptography")


def isthmus(folder: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "isthmus", *words]
    own = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=os.environ | own | environ, capture_output=True, text=True, check=False, timeout=120
    )


def line_of(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_certificates_are_made_by_one_command(tmp_path: Path) -> None:
    done = isthmus(tmp_path, "certificates", "pki", "edge=10.0.0.2", "camera", "--days", "30", "--json")
    told = json.loads(done.stdout)
    assert told == {"ca": "pki/ca.pem", "nodes": {"edge": "pki/edge", "camera": "pki/camera"}}
    identity_in(tmp_path / "pki/edge")
    assert "pki/edge is there; keep it, or give --renew" in line_of(isthmus(tmp_path, "certificates", "pki", "edge"))
    assert "set ISTHMUS_TLS to where it lies" in isthmus(tmp_path, "certificates", "pki", "third").stdout
    assert "NAME=" in line_of(isthmus(tmp_path, "certificates", "pki", "10.0.0.1"))


def test_models_are_signed_and_unsigned_ones_refused(tmp_path: Path) -> None:
    model = two_layers(tmp_path)
    done = isthmus(tmp_path, "sign", model.name, "--create", "--key", "release.key", "--json")
    assert json.loads(done.stdout) == {"signature": f"{model.name}.sig", "public_key": "release.pub"}
    verify(model, tmp_path / "release.pub")
    assert "absent.key: No such file" in line_of(isthmus(tmp_path, "sign", model.name, "--key", "absent.key"))
    assert isthmus(tmp_path, "sign").returncode == 2
    topology = "topology: {nodes: [{name: a, tier: edge, backends: [onnxruntime]}], links: []}"
    (tmp_path / "spec.yaml").write_text(f"name: two\nmodel: {model.name}\ninputs: {{x: {{at: a}}}}\n{topology}\n")
    model.with_name(f"{model.name}.sig").unlink()
    for words, environ in ((("--trust", "release.pub"), {}), ((), {"ISTHMUS_TRUSTED_KEYS": "release.pub"})):
        line = line_of(isthmus(tmp_path, "run", "spec.yaml", *words, **environ))
        assert f"{model.name}: is not signed" in line


def test_a_gateway_says_what_its_doors_lack(tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    isthmus(tmp_path, "certificates", "pki", "gateway")
    (tmp_path / "pki/gateway/cert.pem").write_text("nonsense")
    line = line_of(isthmus(tmp_path, "gateway", "--tls", "pki/gateway", "--address", "127.0.0.1:1"))
    assert "pki/gateway/cert.pem: no certificate" in line
    line = line_of(isthmus(tmp_path, "gateway", "--client-ca", "pki/ca.pem", "--address", "127.0.0.1:1"))
    assert "--client-ca needs --tls FOLDER" in line
