"""`isthmus gateway --otlp` with ISTHMUS_LOG=json in front of a real cluster: one trace for all."""

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.client import Client
from tests.eventually import eventually
from tests.isthmus.foreground import Foreground
from tests.isthmus.given import model_file, spec_file, topology_file
from tests.orchestrator.gateway.collector import Kept, collecting

pytestmark = pytest.mark.slow
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROW = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [0.0] * 8}


def asked(home: Path, otlp: str) -> tuple[list[str], str]:
    """Ask a gateway once, under a trace of ours; what it has logged when it has ended, and the metrics before that."""
    doors = [part for name in ("grpc", "http", "metrics") for part in (f"--{name}", "127.0.0.1:0")]
    command = Foreground(home, "gateway", *doors, "--otlp", otlp, "--json")
    try:
        command.until_says("}")
        ports = json.loads(command.said.read_text())
        base = f"http://127.0.0.1:{ports['http']}/v2/models/classify"

        def is_ready() -> bool:
            try:
                with urllib.request.urlopen(f"{base}/ready", timeout=20) as answer:
                    return bool(answer.status == 200)
            except urllib.error.HTTPError as error:
                error.close()
                return False

        eventually(is_ready, what="the model is ready")
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        body = json.dumps({"id": "mine", "inputs": [ROW]}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{base}/infer", body, headers), timeout=60).close()
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=20) as answer:
            figures = answer.read().decode()
        assert command.end(signal.SIGTERM) == 0, command.complained.read_text()
        return command.complained.read_text().splitlines(), figures
    finally:
        command.kill_all()


def test_a_trace_goes_through_gateway_and_stages_into_the_log(
    shared_client: Client, cluster_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_LOG", "json")
    status = shared_client.deploy(spec_file(tmp_path, model_file(tmp_path), topology_file(tmp_path)))
    try:
        with collecting() as collector:
            written, figures = asked(cluster_home, collector.address)
            plan = shared_client.status()["deployments"]["classify"]["plan"]["id"]
            spans: list[Kept] = collector.wait_for(2)
    finally:
        shared_client.delete("classify")
    epoch = status["epoch"]
    assert f'isthmus_plan_info{{deployment="classify",epoch="{epoch}",plan="{plan}",version="1"}} 1.0' in figures
    lines = map(json.loads, written)
    (told,) = [line for line in lines if line["logger"] == "isthmus.gateway.access"]
    assert (told["trace"], told["id"], told["deployment"], told["status"]) == (TRACE, "mine", "classify", "OK")
    request, *stages = spans
    assert (request.name, request.trace, request.parent) == ("infer classify", TRACE, "00f067aa0ba902b7")
    assert request.attributes["isthmus.request"] == told["request"]
    (active,) = [epoch for epoch in status["epochs"] if epoch["epoch"] == told["epoch"]]
    assert [stage.name for stage in stages] == [f"stage {stage['stage']}" for stage in active["stages"]]
    assert {stage.parent for stage in stages} == {request.span}
    assert all(request.begin_ns <= stage.begin_ns <= stage.end_ns <= request.end_ns for stage in stages)
