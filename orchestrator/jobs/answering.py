"""A job's items through a deployment: a bounded number under way at once, each end noted in the ledger.

The router follows the controller as a client's does, so requests go on while workers and controllers die. What fails
is the item's own fault only if the deployment was whole meanwhile: then it is listed, else it is asked again.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ray.exceptions import RayTaskError

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, EngineMissing
from orchestrator.bond import AWAY, Bond
from orchestrator.errors import RequestFailed, UnknownDeployment
from orchestrator.following import Following
from orchestrator.jobs.dataset import Dataset
from orchestrator.jobs.errors import JobError, Stopped
from orchestrator.jobs.ledger import STOP, End, Ledger, LedgerFull
from orchestrator.jobs.on_ray import desk
from orchestrator.jobs.packing import packed
from orchestrator.jobs.terms import JobTerms
from orchestrator.loops import end_tasks
from orchestrator.telling import tell_links

LOOK_S = 0.5  # between looks at whether the job is to stop
COMMIT_S = 0.1  # ends that come within it go to disk together
PAUSE_S = 1.0
TRIES = 3  # of an item that fails while its deployment is whole
GONE = ("failed", "deleting", "deleted")
FAREWELL_S = 5.0
_log = logging.getLogger("isthmus.job")


def answer_items(bond: Bond, ledger: Ledger, terms: JobTerms, dataset: Dataset, deployment: str) -> None:
    """Have every item that is left end. Stopped; UnknownDeployment; JobError where none can be answered."""
    asyncio.run(_Answering(bond, ledger, terms, dataset, deployment).run())


class _Answering:
    def __init__(self, bond: Bond, ledger: Ledger, terms: JobTerms, dataset: Dataset, deployment: str) -> None:
        self._bond, self._ledger, self._terms, self._dataset = bond, ledger, terms, dataset
        self._name = deployment
        self._following = Following(bond)
        self._router = self._following.router
        self._ends: asyncio.Queue[End] = asyncio.Queue(maxsize=4 * terms.in_flight)
        self._inputs: tuple[TensorSpec, ...] = ()
        self._disk = asyncio.Lock()  # the ledger is used by one thread at a time

    async def run(self) -> None:
        left = iter(self._ledger.left())
        following = self._following
        beside = [
            asyncio.create_task(work)
            for work in (
                following.follow(), following.watch(), following.count(), tell_links(self._router, self._bond),
                self._look(), self._note(),
            )
        ]  # fmt: skip
        work = asyncio.create_task(self._answer(left))
        try:
            done, _ = await asyncio.wait({work, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task is work):
                task.result()  # those beside end only by what they raise
        finally:
            await end_tasks()
            with suppress(*AWAY):
                await asyncio.wait_for(self._bond.call("leave", self._router.name), FAREWELL_S)
            await self._router.close()

    async def _answer(self, left: Iterator[tuple[int, str]]) -> None:
        await self._join()
        self._inputs = self._router.inputs(self._name)
        self._dataset.check(self._inputs)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._terms.in_flight):
                group.create_task(self._take(left))
        await self._ends.join()

    async def _take(self, left: Iterator[tuple[int, str]]) -> None:
        """One item after the other."""
        for position, item in left:
            try:
                feeds = await asyncio.to_thread(self._read, item, self._inputs)
                end = End(position, await self._asked(feeds), None)
            except (BadInput, EngineMissing, RequestFailed) as error:
                end = End(position, None, " ".join(str(error).split()))
                _log.info("item %s: %s", item, end.error)
            await self._ends.put(end)

    def _read(self, item: str, inputs: tuple[TensorSpec, ...]) -> Mapping[str, Array]:
        """Its tensors. BadInput, whatever a reader throws: an item's fault is not the job's."""
        try:
            return self._dataset.feeds(item, inputs)
        except (BadInput, EngineMissing):
            raise
        except Exception as error:
            raise BadInput(f"{item} can't be read: {type(error).__name__}: {error}") from None

    async def _asked(self, feeds: Mapping[str, Array]) -> bytes:
        """The packed answer. RequestFailed or BadInput, once it is the item's own."""
        tries = 0
        while True:
            try:
                answer = await self._router.infer(self._name, feeds, budget_s=self._terms.timeout_s)
                return packed(answer.outputs)
            except RequestFailed as error:
                tries += self._is_whole()
                if error.caller_fault or tries == TRIES:
                    raise
                await asyncio.sleep(PAUSE_S)
            except UnknownDeployment:
                await asyncio.sleep(PAUSE_S)  # whether it is gone for good is what `_look` finds out

    def _is_whole(self) -> bool:
        held = self._router.deployments.get(self._name)
        return held is not None and held.active is not None and bool(held.core.choices())

    async def _join(self) -> None:
        """The deployment's routes, waited for while the controller is away. UnknownDeployment."""
        while True:
            try:
                await self._following.join(self._name)
                break
            except RayTaskError as error:
                if isinstance(error.cause, UnknownDeployment):
                    raise error.cause from None
                _log.info("joining %s: %s", self._name, error.cause)
            except AWAY as error:
                _log.info("joining %s: %s", self._name, type(error).__name__)
            await asyncio.sleep(PAUSE_S)
        await self._router.routed(self._name)

    async def _look(self) -> None:
        """For ever: Stopped once that is wished, JobError once the deployment is no more."""
        asked_s, controller = time.monotonic(), None
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(*AWAY):
                if self._bond.is_tied and controller is not self._bond.actor:  # of a new Ray head, perhaps
                    controller = self._bond.actor
                    await asyncio.to_thread(desk, self._bond.facts)
            async with self._disk:
                wish = await asyncio.to_thread(self._ledger.fact, STOP)
            if wish is not None:
                raise Stopped
            if time.monotonic() - asked_s > 5.0:
                asked_s = time.monotonic()
                with suppress(*AWAY):
                    told = await asyncio.wait_for(self._bond.call("status"), 5.0)
                    found = told["deployments"].get(self._name)
                    if found is None or found["state"] in GONE:
                        state = "deleted" if found is None else found["state"]
                        raise JobError(f"deployment {self._name!r} is {state}; deploy it again and submit a new job")

    async def _note(self) -> None:
        """Write ends down as they come, those of a moment together, for ever."""
        while True:
            ends = [await self._ends.get()]
            await asyncio.sleep(COMMIT_S)
            while not self._ends.empty():
                ends.append(self._ends.get_nowait())
            while True:
                try:
                    async with self._disk:
                        await asyncio.to_thread(self._ledger.end, ends)
                    break
                except LedgerFull as error:
                    _log.info("%s", error)
                    await asyncio.sleep(PAUSE_S)
            for _ in ends:
                self._ends.task_done()
