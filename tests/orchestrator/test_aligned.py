"""Aligned items become requests: a deployment played by futures here, and a real one whose worker is killed."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array
from nodes.errors import BadInput
from orchestrator.aligned import Aligned, Joined
from orchestrator.aligning.terms import AlignTerms, Modality
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.client_align import terms_in
from orchestrator.errors import UnknownDeployment
from orchestrator.sourcing import Item
from orchestrator.spec import DeploymentSpec
from tests.orchestrator.test_branches_served import event, feeds
from tests.orchestrator.test_sources_served import deployed, spec

__all__ = ["deployed", "spec"]
SOON_S = 20.0
TERMS = AlignTerms(
    modalities={"photo": Modality(), "sound": Modality(missing="without", wait_s=0.05)}, by=("photo",), under_way=3
)


@pytest.fixture(name="loop")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Played:
    """Requests as they were asked, to be answered by the test."""

    def __init__(self) -> None:
        self.asked: list[tuple[Mapping[str, Any], Future[Answer]]] = []
        self.came = threading.Semaphore(0)

    def __call__(self, inputs: Mapping[str, Any], *, priority: int) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self.asked.append((inputs, future))
        self.came.release()
        return future

    def answer(self, at: int) -> None:
        assert self.came.acquire(timeout=SOON_S)
        self.asked[at][1].set_result(Answer(outputs=dict(self.asked[at][0]), latency_s=0.5, epoch=1, attempt=1))


def row(value: float) -> Array:
    return np.array([value])


def test_a_silent_modality_is_replaced_once_the_wait_ends(loop: asyncio.AbstractEventLoop) -> None:
    played, forgotten = Played(), []
    with Aligned(
        TERMS, played, loop, instead={"sound": row(-1)}, forgotten=lambda name, value: forgotten.append(name)
    ) as aligned:
        aligned.put("photo", row(1), captured_s=5.0)
        played.answer(0)  # asked by the timer: nothing else comes
        (one,) = [next(iter(aligned))]
        assert (one.missing, one.outputs["sound"][0], one.latency_s) == (("sound",), -1, 0.5)
        assert forgotten == ["photo"]


def test_answers_keep_their_order_and_one_that_fails_says_why(loop: asyncio.AbstractEventLoop) -> None:
    played = Played()
    with Aligned(TERMS, played, loop, instead={"sound": row(-1)}) as aligned:
        for at in range(3):
            aligned.put("sound", row(10 + at), captured_s=float(at))
            aligned.put("photo", {"photo": row(at), "other": row(7)}, captured_s=float(at))
        for at in (2, 0):
            played.answer(at)
        played.asked[1][1].set_exception(BadInput("a picture cut short"))
    found = list(aligned)
    assert [one.at_s for one in found] == [0.0, 1.0, 2.0]
    assert isinstance(found[1].error, BadInput)
    assert [one.outputs["sound"][0] for one in found if one.error is None] == [10, 12]
    assert found[0].outputs["other"][0] == 7
    counts = aligned.ledger.of("photo")
    assert (counts.came, counts.used, aligned.waiting) == (3, 3, {"photo": 0, "sound": 0})


def test_an_item_of_one_input_needs_no_name_and_the_end_is_told(loop: asyncio.AbstractEventLoop) -> None:
    played, ended = Played(), threading.Event()
    told = AlignTerms(modalities={"photo": Modality(inputs=("frame",))}, by=("photo",))
    with Aligned(told, played, loop, ended=ended.set) as aligned:
        aligned.put("photo", row(4), captured_s=1.0)
        played.answer(0)
    assert not ended.is_set()
    assert [one.outputs["frame"][0] for one in aligned] == [4]
    assert ended.is_set()


def test_no_more_are_under_way_than_the_terms_allow(loop: asyncio.AbstractEventLoop) -> None:
    played = Played()
    with Aligned(TERMS, played, loop, instead={"sound": row(-1)}) as aligned:
        for at in range(5):
            aligned.put("sound", row(at), captured_s=float(at))
            aligned.put("photo", row(at), captured_s=float(at))
        assert len(played.asked) == 3
        played.answer(0)
        assert next(iter(aligned)).at_s == 0.0
        assert len(played.asked) == 4
        for at in (1, 2, 3):
            played.answer(at)
        rest = iter(aligned)
        assert next(rest).at_s == 1.0
        played.answer(4)
        assert [next(rest).at_s for _ in range(3)] == [2.0, 3.0, 4.0]


def test_what_can_not_be_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(ValueError, match="modality 'sound' may be left out; say what"):
        Aligned(TERMS, Played(), loop)
    aligned = Aligned(TERMS, Played(), loop, instead={"sound": row(0)})
    with pytest.raises(KeyError, match="no modality 'smell'; there are photo, sound"):
        aligned.put("smell", row(0))
    told = replace(TERMS, modalities=TERMS.modalities | {"photo": Modality(inputs=("frame", "zoom"))})
    with (
        Aligned(told, Played(), loop, instead={"sound": row(0)}) as several,
        pytest.raises(KeyError, match="an item of 'photo' has frame, zoom, and this one frame"),
    ):
        several.put("photo", {"frame": row(0)})
    with pytest.raises(ValueError, match="no exchange"):
        aligned.clock("photo", 2.0, 1.0, 1.0, 1.0)
    aligned.finish()
    with pytest.raises(RuntimeError, match="finished"):
        aligned.put("photo", row(0))


@pytest.mark.slow
def test_a_deployment_that_says_nothing_of_alignment_says_so(deployed: Client, spec: DeploymentSpec) -> None:
    with pytest.raises(ValueError, match="sensors's spec has no align; add it and deploy again, or give terms here"):
        terms_in(replace(spec, align=None))
    with pytest.raises(UnknownDeployment):
        deployed.align("nobody")


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["", "camera", "microphone", "cloud"])
def test_two_real_sensors_one_skewed_are_joined_and_nothing_is_lost(deployed: Client, killed: str) -> None:
    """The microphone's clock is an hour ahead, its items lag by three, and every fifth of them is not there.

    Terms and what stands for a missing one, which has to be where the microphone is, are the deployment's.
    """
    hour = 3600.0
    released: list[str] = []
    found: list[Joined] = []
    with ExitStack() as sensors:
        camera, microphone = (sensors.enter_context(deployed.source("sensors", at)) for at in ("camera", "microphone"))
        of = {"seen": camera, "heard": microphone}

        def forgotten(name: str, inputs: Mapping[str, Any]) -> None:
            released.append(name)
            (item,) = inputs.values()
            assert isinstance(item, Item)
            of[name].release(item)

        with deployed.align("sensors", forgotten=forgotten, timeout_s=60) as aligned:
            now_s = time.time()
            aligned.clock("heard", now_s + hour, now_s + 0.001, now_s + 0.001, now_s + hour + 0.002)
            taker = threading.Thread(target=lambda: found.extend(aligned))
            taker.start()
            for number in range(43):
                if number < 40:
                    aligned.put("seen", camera.put({"seen": feeds(number)["seen"]}), captured_s=number / 10)
                behind = number - 3
                if behind >= 0 and behind % 5:
                    item = microphone.put({"heard": feeds(behind)["heard"]})
                    aligned.put("heard", item, captured_s=behind / 10 + hour)
                if number == 20 and killed:
                    os.kill(deployed.status()["workers"][killed]["pid"], signal.SIGKILL)
        taker.join(timeout=120)
        assert not taker.is_alive()
    assert [round(one.at_s * 10) for one in found] == list(range(40))
    assert [one.error for one in found] == [None] * 40
    for number, one in enumerate(found):
        given = feeds(number)
        if number % 5 == 0:
            assert one.missing == ("heard",)
            given["heard"] = np.zeros_like(given["heard"])
        np.testing.assert_allclose(one.outputs["event"], event(given), atol=1e-4)
    ledger = aligned.ledger
    assert (ledger.of("seen").used, ledger.of("heard").used, ledger.without) == (40, 32, {"heard": 8})
    assert sorted(released) == ["heard"] * 32 + ["seen"] * 40
