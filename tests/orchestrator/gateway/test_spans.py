"""Spans of requests, as a collector gets them over OTLP: whose children they are, where they are placed, what is
told of faults; and that nothing is made where nobody asked.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from nodes.framing import HopTiming
from orchestrator.errors import RequestFailed
from orchestrator.gateway.accounts import Accounts, accounts_of
from orchestrator.gateway.messages import SERVICE, message
from orchestrator.gateway.spans import placed
from orchestrator.trace_ids import parent_of
from tests.orchestrator.gateway.collector import Collector, collecting
from tests.orchestrator.gateway.served import Served

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = f"00-{TRACE}-{SPAN}-01"
HOPS = (
    HopTiming("s1", 0.001, 0.002, 0.003, 0.004, "0"),
    HopTiming("s2", 0.002, 0.004, 0.006, 0.008, "0"),
)
BODY = json.dumps({"id": "mine", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})


class Traced:
    """A gateway whose spans go to a collector."""

    def __init__(self, collector: Collector) -> None:
        self.collector, self.accounts = collector, accounts_of(collector.address)
        self.served = Served(accounts=self.accounts)
        self.served.echo.hops, self.served.echo.latency_s = HOPS, 0.06

    def ask(self, traceparent: str | None = None, model: str = "float32") -> int:
        headers = {} if traceparent is None else {"traceparent": traceparent}
        url = f"http://{self.served.http}/v2/models/{model}/infer"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, BODY.encode(), headers), timeout=20) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def close(self) -> None:
        self.served.close()
        self.accounts.close()


@pytest.fixture
def traced() -> Iterator[Traced]:
    with collecting() as collector:
        held = Traced(collector)
        yield held
        held.close()


def told(traced: Traced, many: int) -> list[Any]:
    """The spans, once the gateway has closed and so sent all that it has."""
    traced.accounts.close()
    return traced.collector.wait_for(many)


def test_a_request_has_a_span_and_below_it_one_a_stage(traced: Traced) -> None:
    assert traced.ask() == 200
    request, *stages = told(traced, 3)
    assert (request.name, request.parent, request.service) == ("infer float32", "", "isthmus-gateway")
    assert [stage.name for stage in stages] == ["stage s1", "stage s2"]
    assert {stage.parent for stage in stages} == {request.span}
    assert {span.trace for span in (request, *stages)} == {request.trace}
    about = {"isthmus.id": "mine", "isthmus.status": "OK", "isthmus.epoch": 1, "isthmus.version": 2}
    assert about.items() <= request.attributes.items()
    seconds = [stages[1].attributes[f"isthmus.{part}_s"] for part in ("queue", "decode", "compute", "encode")]
    assert seconds == list(HOPS[1][1:5]) and stages[1].attributes["isthmus.placed"]


def test_stages_lie_within_their_request_as_long_as_they_told(traced: Traced) -> None:
    traced.ask()
    _, one, two = told(traced, 3)
    lengths = [(span.end_ns - span.begin_ns) * 1e-9 for span in (one, two)]
    assert lengths == pytest.approx([0.01, 0.02], abs=1e-6)
    assert (two.begin_ns - one.end_ns) * 1e-9 == pytest.approx(0.01, abs=1e-6)  # 30 ms of three messages


def test_a_caller_s_trace_goes_on(traced: Traced) -> None:
    traced.ask(CALLERS)
    with grpc.insecure_channel(traced.served.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", lambda one: one.SerializeToString(), message("ModelInferResponse").FromString
        )
        request = message("ModelInferRequest")(model_name="float32", raw_input_contents=[bytes(8)])
        request.inputs.add(name="x", datatype="FP32", shape=(1, 2))
        infer(request, metadata=(("traceparent", CALLERS),), timeout=20)
    spans = told(traced, 6)
    assert {span.trace for span in spans} == {TRACE}
    assert [span.name for span in spans if span.parent == SPAN] == ["infer float32"] * 2


def test_what_a_caller_does_not_record_is_not_recorded_here(traced: Traced) -> None:
    traced.ask(CALLERS[:-1] + "0")
    traced.ask()
    assert all(span.trace != TRACE for span in told(traced, 3))
    assert len(traced.collector.spans) == 3


def test_our_faults_are_errors_and_callers_are_not(traced: Traced) -> None:
    assert traced.ask(model="absent") == 404
    traced.served.echo.raises = RequestFailed("it broke")
    assert traced.ask() == 500
    absent, broken = told(traced, 2)
    assert (absent.attributes["isthmus.status"], absent.is_error) == ("NOT_FOUND", False)
    assert (broken.attributes["isthmus.status"], broken.is_error) == ("INTERNAL", True)


def test_a_collector_that_is_not_there_holds_up_no_request() -> None:
    with collecting() as collector:
        gone = collector.address
    served = Served(accounts=accounts_of(gone))
    with urllib.request.urlopen(f"http://{served.http}/v2/models/float32/infer", BODY.encode(), timeout=5) as response:
        assert response.status == 200
    served.close()


@pytest.mark.parametrize(
    "given",
    [
        None, "", "nonsense", CALLERS.replace("00-", "ff-", 1), f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        CALLERS.upper(), CALLERS + "-more", CALLERS[:-1],
    ],
)  # fmt: skip
def test_a_traceparent_that_is_none_is_ignored(given: str | None) -> None:
    assert parent_of(given) is None


def test_a_traceparent_of_a_later_version_counts() -> None:
    for given in (CALLERS, CALLERS.replace("00-", "cc-", 1) + "-more"):
        assert parent_of(given) == (TRACE, SPAN, True)


def test_stages_that_told_more_than_the_whole_are_made_to_fit() -> None:
    assert [at_s for pair in placed(HOPS, 0.015) for at_s in pair] == pytest.approx([0, 0.005, 0.005, 0.015])
    assert placed((), 1.0) == []


def test_off_keeps_no_accounts_and_loads_nothing() -> None:
    assert not Accounts().are_kept
    code = "import sys, orchestrator.gateway.serving as s; s.Serving(None); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
