"""Sequences through the gateway: speech models in steps over gRPC and REST, at real workers, and what is refused."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.zoo import silero, whisper
from isthmus.zoo.listening import END, PLAIN, START, chunks, likeliest, speech, text, tokens
from isthmus.zoo.sound import read_wav
from nodes.backend import Array, load_backend
from nodes.functions.sound import log_mel
from orchestrator.blueprint import Blueprint
from orchestrator.gateway.datatypes import DATATYPE_OF
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.messages import message
from orchestrator.gateway.models import Given, Question
from orchestrator.gateway.permits import Permit, Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.model_file import read_model
from orchestrator.router import Router
from orchestrator.sequence_terms import SequenceTerms
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.profile import EngineProfile, Profile
from tests.contracts.backend_models import zoo_model
from tests.orchestrator.gateway.test_grpc import call
from tests.orchestrator.gateway.test_rest import ask
from tests.orchestrator.sequence_site import KEY
from tests.orchestrator.small_site import site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
SITE = site(mbps=800, slowdown=1)
SILERO = SequenceTerms(state=tuple(silero.STATE.items()), checkpoint=8)
WHISPER = SequenceTerms(state=tuple(whisper.STATE.items()), kept=tuple(whisper.CROSS_SHAPES), checkpoint=8)
CUTS = {  # operators that hold the two halves at the two nodes
    "silero": (("/stft/Conv", "camera"), ("/recurrent/LSTM", "cloud")),
    "whisper_decoder": (
        ("embed", "camera"),
        ("logits", "cloud"),
        ("say3_cross_scores", "cloud"),
        ("say1_mixed", "camera"),
    ),
}
SENTENCE = "I would like to drink a cup of coffee."


class Site:
    """A gateway's doors over a router, in the workers' own loop."""

    def __init__(self, workers: WorkerSite) -> None:
        self.workers = workers
        workers.do(self._open())

    async def _open(self) -> None:
        self.router = Router(on_drained=lambda _name, _epoch: None)
        self.serving = Serving(RouterSource(self.router))
        listen = Listen(grpc="127.0.0.1:0", http="127.0.0.1:0", most_bytes=64 << 20, permits=Permits())
        self.doors = Doors(self.serving, Repository(self.serving), listen)
        await self.doors.open()
        self.http = f"127.0.0.1:{self.doors.http}"

    async def load(self, model: str, name: str, epoch: int, terms: SequenceTerms, *, cut: bool) -> int:
        """Have it served under that name; how many stages it has."""
        blueprint = blueprint_of(model, terms, cut=cut)
        routes = await self.workers.load(name, epoch, blueprint=blueprint, without=() if cut else ("cloud",))
        await self.router.switch(replace(routes, version=1))
        return len(routes.stages)

    def serve(self, model: str, name: str, terms: SequenceTerms, *, epoch: int = 1, cut: bool = True) -> int:
        return self.workers.do(self.load(model, name, epoch, terms, cut=cut))

    async def end(self) -> None:
        await self.doors.close()
        await self.router.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    workers = WorkerSite(tmp_path_factory.mktemp("speech"))
    opened = Site(workers)
    yield opened
    workers.do(opened.end())
    workers.close()


@pytest.fixture
def channel(opened: Site) -> Iterator[grpc.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{opened.doors.grpc}", options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Array:
    """A sentence at 16 kHz."""
    path = tmp_path_factory.mktemp("said") / "said.wav"
    try:
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "120", "-w", str(path), SENTENCE], check=True)
    except FileNotFoundError:
        pytest.skip("espeak-ng is not installed (Debian, Ubuntu: apt-get install espeak-ng)")
    return read_wav(path)


def blueprint_of(model: str, terms: SequenceTerms, *, cut: bool) -> Blueprint:
    path = zoo_model(model)
    names = {"silero": ("chunk",), "whisper_decoder": ("token", "position", *whisper.CROSS_SHAPES)}[model]
    spec = DeploymentSpec(
        name=model, model=path, topology=SITE, source="camera", sequence=terms, digest=model, standby_bytes=0,
        inputs=tuple(InputSpec(name=name, at="camera") for name in names), pinned=CUTS[model] if cut else (),
    )  # fmt: skip
    read = read_model(spec, path)
    each_s = {operator.name: 1e-5 for operator in read.graph.operators}
    profile = Profile(model=read.sha256, engines={KEY: EngineProfile(operator_s=each_s)})
    return Blueprint(spec=spec, model=read, profile=profile, engines={node.name: (KEY,) for node in SITE.nodes})


def asking(model: str, feeds: Mapping[str, Array], sequence: int | str = 0, **more: bool) -> Any:
    """A ModelInferRequest for a step; `start`, `end`."""
    request = message("ModelInferRequest")(model_name=model)
    for name, array in feeds.items():
        request.inputs.add(name=name, datatype=DATATYPE_OF[array.dtype.name], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    if isinstance(sequence, str):
        request.parameters["sequence_id"].string_param = sequence
    elif sequence:
        request.parameters["sequence_id"].int64_param = sequence
    for name, value in more.items():
        request.parameters[f"sequence_{name}"].bool_param = value
    return request


def array_of(response: Any, dtype: str = "float32") -> Array:
    return np.frombuffer(response.raw_output_contents[0], dtype)


def by_hand(sound: Array) -> Array:
    session = load_backend("onnxruntime").compile(zoo_model("silero"))
    try:
        return speech(sound, session.run)
    finally:
        session.close()


@pytest.mark.parametrize("cut", [False, True])
def test_speech_is_heard_chunk_by_chunk_as_by_hand(opened: Site, channel: grpc.Channel, said: Array, cut: bool) -> None:
    name, pieces = f"silero-{cut}", list(chunks(said))
    assert opened.serve("silero", name, SILERO, cut=cut) == 1 + cut
    found = []
    for number, chunk in enumerate(pieces):
        about = {"start": number == 0, "end": number == len(pieces) - 1}
        found.append(array_of(call(channel, "ModelInfer", asking(name, {"chunk": chunk}, 7, **about))))
    wanted = by_hand(said)
    assert np.ptp(wanted) > 0.9  # someone speaks, and someone is silent
    np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-4)
    assert len(opened.router.sequences) == 0


def test_speech_is_heard_on_through_a_switch_and_the_death_of_a_worker(
    opened: Site, channel: grpc.Channel, said: Array
) -> None:
    pieces, found = list(chunks(said))[:40], []
    opened.serve("silero", "tried", SILERO)

    def trouble(number: int) -> None:
        if number == 13:
            opened.serve("silero", "tried", SILERO, epoch=2, cut=False)
        if number == 27:
            pid = opened.workers.fleet.member("cloud").found.claimed.pid
            opened.serve("silero", "tried", SILERO, epoch=3)
            os.kill(pid, signal.SIGKILL)
            opened.workers.do(opened.workers.fleet.rejoin(SITE.node("cloud")))
            opened.serve("silero", "tried", SILERO, epoch=4)

    for number, chunk in enumerate(pieces):
        trouble(number)
        found.append(array_of(call(channel, "ModelInfer", asking("tried", {"chunk": chunk}, "a", start=number == 0))))
    np.testing.assert_allclose(np.concatenate(found), by_hand(said)[: len(pieces)], atol=1e-4)


@pytest.mark.parametrize("cut", [False, True])
def test_what_is_said_comes_token_by_token_over_a_stream(
    opened: Site, channel: grpc.Channel, said: Array, cut: bool
) -> None:
    name = f"whisper-{cut}"
    assert opened.serve("whisper_decoder", name, WHISPER, cut=cut) == 1 + cut
    hear, decode = (
        load_backend("onnxruntime").compile(zoo_model(f"whisper_{half}")) for half in ("encoder", "decoder")
    )
    cross = hear.run({"mel": log_mel(said)})
    wanted = list(tokens(cross, decode.run))
    given: SimpleQueue[Any] = SimpleQueue()
    answers = call(channel, "ModelStreamInfer", iter(given.get, None))

    def step(token: int, position: int) -> Array:
        feeds = {"token": np.array([[token]]), "position": np.array([position])} | (cross if position == 0 else {})
        given.put(asking(name, feeds, 9, start=position == 0))
        response = next(answers)
        assert not response.error_message
        return array_of(response.infer_response)

    step(START, 0)
    found, token = list[int](), PLAIN
    for position in range(1, whisper.CAPACITY):
        token = likeliest(step(token, position), first=position == 1)
        if token == END:
            break
        found.append(token)
    given.put(None)
    assert found == wanted
    assert "coffee" in text(found).lower()


def refused(channel: grpc.Channel, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ModelInfer", request)
    return error.value.code().name, error.value.details()


CHUNK = {"chunk": np.zeros(silero.SHAPE, np.float32)}


@pytest.mark.parametrize(
    ("sequence", "more", "feeds", "told"),
    [
        (0, {}, CHUNK, "keeps state between requests: give sequence_id, sequence_start at first"),
        (5, {}, CHUNK, "no sequence '5' is under way (it is forgotten after 60 s of silence); begin it with a start"),
        (0, {"start": True}, CHUNK, "parameter sequence_start: of which sequence? give sequence_id"),
        ("x" * 201, {"start": True}, CHUNK, "parameter sequence_id: should have 200 characters at most"),
        (5, {"start": True}, CHUNK | {"h": np.zeros((1, 1, 128), np.float32)}, "it has no input 'h'"),
    ],
)
def test_what_is_no_step_is_refused_in_one_line(
    opened: Site, channel: grpc.Channel, sequence: int | str, more: dict[str, bool], feeds: dict[str, Array], told: str
) -> None:
    opened.serve("silero", "strict", SILERO)
    code, said = refused(channel, asking("strict", feeds, sequence, **more))
    assert (code, told in said, "\n" in said) == ("INVALID_ARGUMENT", True, False), said


def test_a_model_with_state_says_so_and_hides_it(opened: Site, channel: grpc.Channel) -> None:
    opened.serve("whisper_decoder", "told", WHISPER)
    metadata = call(channel, "ModelMetadata", message("ModelMetadataRequest")(name="told"))
    assert [one.name for one in metadata.inputs] == ["token", "position", *whisper.CROSS_SHAPES]
    assert [one.name for one in metadata.outputs] == ["logits"]
    config = call(channel, "ModelConfig", message("ModelConfigRequest")(name="told")).config
    assert config.sequence_batching.max_sequence_idle_microseconds == 60_000_000
    assert [one.name for one in config.input if one.optional] == list(whisper.CROSS_SHAPES)


def test_steps_may_come_by_rest(opened: Site, said: Array) -> None:
    opened.serve("silero", "rest", SILERO)
    path, found = "/v2/models/rest/infer", []
    for number, chunk in enumerate(list(chunks(said))[:5]):
        given = {"name": "chunk", "datatype": "FP32", "shape": list(chunk.shape), "data": chunk.ravel().tolist()}
        parameters = {"sequence_id": 3, "sequence_start": number == 0}
        _, answer, _ = ask(opened, "POST", path, {"inputs": [given], "parameters": parameters})
        found.append(answer["outputs"][0]["data"][0])
    np.testing.assert_allclose(found, by_hand(said)[:5], atol=1e-4)
    status, answer, _ = ask(opened, "POST", path, {"inputs": [], "parameters": {"sequence_id": True}})
    assert (status, "sequence_id: should be a whole number or a name, is True" in answer["error"]) == (400, True)


def test_one_holder_of_a_token_does_not_step_into_anothers_sequence(opened: Site) -> None:
    opened.serve("silero", "owned", SILERO)

    async def step(owner: str, **more: bool) -> Any:
        question = silero_question(**{"sequence_id": 1} | more)  # type: ignore[arg-type]
        return await opened.serving.infer("owned", "", lambda: question, lambda reply: reply, Permit(name=owner))

    async def story() -> None:
        await step("one", sequence_start=True)
        with pytest.raises(Exception, match="no sequence '1' is under way"):
            await step("other")
        await step("one")

    opened.workers.do(story())


def silero_question(**parameters: object) -> Any:
    array = CHUNK["chunk"]
    given = Given(name="chunk", datatype="FP32", shape=array.shape, read=lambda: array)
    return Question(inputs=(given,), parameters=parameters)
