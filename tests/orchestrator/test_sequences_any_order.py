"""Whatever becomes of frames, stages and callers, a step goes on from the steps that were answered, and from no other.

The router's sequences against a stage's memory, with what lies between them drawn from a seed: frames that are lost,
that are run though nobody waits any more, or that come after everything else; state that is forgotten.
"""

import asyncio
from random import Random
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array, TensorSpec
from nodes.errors import SequenceLost
from nodes.sequences import Sequences as Kept
from nodes.stage_spec import StageSpec
from orchestrator.answers import Answer
from orchestrator.errors import RequestFailed, RequestTimeout, StateLost
from orchestrator.request import Part
from orchestrator.routes import EpochRoutes, Reach
from orchestrator.sequence_terms import Stateful
from orchestrator.sequences import Arrays, Sequences
from orchestrator.terms import Step

SUM, SCALE, X = (TensorSpec(name, "float64", (1,)) for name in ("sum", "scale", "x"))
SPEC = StageSpec(
    deployment="d", epoch=1, stage="s", artifact="", backend="", returns=("y",), state={"next": "sum"}, kept=("scale",)
)


def routes_of(checkpoint: int) -> EpochRoutes:
    sequence = Stateful(state=(("next", SUM),), kept=(SCALE,), idle_s=60, checkpoint=checkpoint, most=8)
    stages = (("s", Reach(node="n", address="a")),)
    about: dict[str, Any] = {"stages": stages, "inputs": (X,), "codecs": {}, "outputs": ("y",)}
    return EpochRoutes(deployment="d", epoch=1, source="n", sequence=sequence, **about)


class Unreliable:
    """A stage that sums up scale · x, and the way to it."""

    def __init__(self, seed: int) -> None:
        self.random, self.calm = Random(seed), False
        self.kept = Kept(SPEC, (X, SUM, SCALE))
        self.late: list[tuple[Arrays, Part]] = []
        self.given: dict[tuple[str, int], float] = {}
        self.lost = 0

    def run(self, feeds: Arrays, part: Part) -> dict[str, Array]:
        fed = {**feeds, **self.kept.recall(part.sequence, part.position, feeds, 1)}
        made = np.add(fed["sum"], np.multiply(fed["scale"], fed["x"]))
        if part.last:
            self.kept.end(part.sequence)
        else:
            self.kept.keep(part.sequence, part.position, fed, {"next": made}, 0.0)
        return {"y": made} | ({"next": made} if part.snapshot else {})

    async def ask(self, feeds: Arrays, part: Part, left_s: float) -> Answer:
        """As the core does it: an answer, a failure, or the word that state is lost."""
        await asyncio.sleep(0)
        assert self.given.setdefault((part.sequence, part.position), float(feeds["x"][0])) == feeds["x"][0]
        luck = 1.0 if self.calm else self.random.random()
        for late in [one for one in self.late if self.random.random() < 0.5]:
            self.late.remove(late)
            self._run_late(*late)
        if luck < 0.1:
            self.kept.end(part.sequence)  # forgotten
        elif luck < 0.2:
            self.late.append((feeds, part))
            raise RequestTimeout("on its way, too slowly")
        elif luck < 0.3:
            self._run_late(feeds, part)
            raise RequestFailed("run, and the answer lost")
        elif luck < 0.35:
            raise RequestFailed("never left")
        try:
            return Answer(outputs=self.run(feeds, part), latency_s=0, epoch=1, attempt=1)
        except SequenceLost as lost:
            self.lost += 1
            raise StateLost(str(lost)) from None

    def _run_late(self, feeds: Arrays, part: Part) -> None:
        try:
            self.run(feeds, part)
        except SequenceLost:
            self.lost += 1


async def story(seed: int) -> int:
    """A caller who tries on, with other inputs each time; how often state was lost."""
    random, stage = Random(seed), Unreliable(seed)
    sequences, routes = Sequences(lambda _reason: None), routes_of(random.choice([1, 2, 3, 64]))
    total = 0.0
    for number in range(30):
        while True:
            stage.calm = random.random() < 0.2
            x, start = random.uniform(-1, 1), number == 0
            feeds = {"x": np.array([x])} | ({"scale": np.array([2.0])} if start else {})
            asked = sequences.step("d", routes, feeds, Step(sequence="a", start=start), 5.0, stage.ask)
            task = asyncio.ensure_future(asked)
            if random.random() < 0.1:
                await asyncio.sleep(0)
                task.cancel()
            try:
                answer = await task
            except (RequestFailed, asyncio.CancelledError):
                continue
            total += 2 * x
            assert np.isclose(answer.outputs["y"][0], total), (seed, number)
            break
    return stage.lost


def test_a_step_goes_on_from_the_steps_that_were_answered() -> None:
    assert sum(asyncio.run(story(seed)) for seed in range(200)) in range(500, 1500)


def test_a_step_that_workers_die_of_is_not_sent_again_for_ever() -> None:
    asked = []

    async def deadly(_feeds: Arrays, part: Part, _left_s: float) -> Answer:
        asked.append(part.position)
        raise StateLost("the worker on n was lost", alone=1)

    async def asking() -> None:
        sequences = Sequences(lambda _reason: None)
        feeds = {"x": np.array([1.0]), "scale": np.array([2.0])}
        with pytest.raises(
            RequestFailed, match="2 workers were lost with it alone, and it is not sent again"
        ) as failed:
            await sequences.step("d", routes_of(64), feeds, Step(sequence="a", start=True), 5.0, deadly)
        assert (failed.value.caller_fault, asked, len(sequences)) == (True, [0, 0], 0)

    asyncio.run(asking())
