"""The worker's gRPC face: the data stream and the control methods, msgpack maps in and out.

An error of ours travels inside the answer as {"error": {kind, message, caller_fault}}; only a missing token ends a
call with gRPC's own UNAUTHENTICATED. Methods that change the worker need the claimant's secret in the metadata.
"""

import asyncio
import os
import platform
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from statistics import median
from time import perf_counter, sleep
from typing import Any

import grpc
import msgpack

from nodes import held
from nodes.backend import BACKENDS, Array, Option, TensorSpec, load_backend
from nodes.code_version import code_version
from nodes.codec import unpack
from nodes.emulation import ShapedLink
from nodes.errors import NodesError
from nodes.framing import VERSION, decode
from nodes.host import Host
from nodes.program import Program
from nodes.selecting.on_worker import measure_cell
from nodes.stage_spec import StageSpec
from nodes.stage_work import fault_of
from nodes.stream import SERVICE, has_token, serve_stream

SECRET = "isthmus-secret"
IDLE_S = 0.025  # about what a stage waits for its next request; after 5 ms it still runs 5 % faster
Map = dict[str, Any]
Method = Callable[[Map], Awaitable[Map]]


class ControlService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the method that a call names."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._measuring = asyncio.Lock()
        self._open: dict[str, Method] = {"Health": self._health, "Logs": self._logs, "Engines": self._engines}
        self._claimed: dict[str, Method] = {
            "HasArtifact": self._has_artifact,
            "LoadStage": self._load_stage,
            "DropStage": self._drop_stage,
            "Measure": self._measure,
            "Cell": self._cell,
            "Shape": self._shape,
            "Probe": self._probe,
            "Shutdown": self._shutdown,
        }
        unary = grpc.unary_unary_rpc_method_handler
        self._handlers = {
            "Stream": grpc.stream_stream_rpc_method_handler(self._stream),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            "PutArtifact": grpc.stream_unary_rpc_method_handler(self._put_artifact),
            "Claim": unary(self._claim),
            **{name: unary(self._unary(method)) for name, method in (self._open | self._claimed).items()},
        }

    def service(self, details: Any) -> Any:
        """The handler of a call; None for a method that isn't there."""
        service, _, name = details.method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        if not has_token(details.invocation_metadata, self._host.settings.token):
            return _REFUSALS.get(name, _REFUSE_UNARY)
        return self._handlers.get(name)

    # -- shapes of calls -------------------------------------------------------------------------------------

    def _unary(self, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def call(request: bytes, context: Any) -> bytes:
            return await self._answer(lambda: self._run(method, request, context))

        return call

    async def _run(self, method: Method, request: bytes, context: Any) -> Map:
        if method in self._claimed.values():
            self._host.claim.check(_secret(context))
            self._host.touch()
        given = msgpack.unpackb(request) if request else {}
        if not isinstance(given, dict):
            raise NodesError(f"a control call takes a map, not {type(given).__name__}")
        return await method(given)

    async def _stream(self, _: Any, context: Any) -> None:
        await serve_stream(
            context,
            self._host.settings.node,
            on_open=self._host.opened,
            on_frame=self._host.received,
            on_closed=self._host.closed,
            shaper=self._host.shaper,
            manual_credit=True,
        )

    async def _watch(self, _: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            self._host.claim.check(_secret(context))
        except NodesError as error:
            yield msgpack.packb(_fault_map(error))
            return
        events = self._host.watch()
        try:
            yield msgpack.packb({"event": "watching"})
            while not self._host.stopped.is_set():
                yield msgpack.packb(await events.get())
        finally:
            self._host.unwatch(events)

    async def _put_artifact(self, chunks: AsyncIterator[bytes], context: Any) -> bytes:
        async def put() -> Map:
            self._host.claim.check(_secret(context))
            self._host.touch()
            pieces = aiter(chunks)
            first = msgpack.unpackb(await anext(pieces, b"\x80"))
            sha = str(first.get("artifact", ""))
            if self._host.store.has(sha):
                return {"artifact": sha}
            with self._host.store.receive(sha) as incoming:
                async for piece in pieces:
                    given = msgpack.unpackb(piece)
                    incoming.write(str(given["file"]), given["data"])
                await asyncio.to_thread(incoming.commit)
            return {"artifact": sha}

        return await self._answer(put)

    async def _claim(self, request: bytes, context: Any) -> bytes:
        async def claim() -> Map:
            given = msgpack.unpackb(request)
            self._host.claim.take(str(given.get("controller", "")), _secret(context))
            self._host.touch()
            self._host.log.write("claimed", controller=str(self._host.claim.controller))
            return self._facts()

        return await self._answer(claim)

    async def _answer(self, call: Callable[[], Awaitable[Map]]) -> bytes:
        """What a call gives, or its error; one that nobody foresaw goes to the log with where it arose."""
        try:
            answer = await call()
        except NodesError as error:
            answer = _fault_map(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            answer = _fault_map(NodesError(f"malformed control call: {type(error).__name__}: {error}"))
            self._host.log.write(traceback.format_exc(), level="error")
        except Exception as error:  # an engine's or our own: the controller must hear of it, not of a lost worker
            answer = _fault_map(NodesError(f"worker {self._host.worker}: {type(error).__name__}: {error}"))
            self._host.log.write(traceback.format_exc(), level="error")
        packed: bytes = msgpack.packb(answer)
        return packed

    # -- methods ---------------------------------------------------------------------------------------------

    def _facts(self) -> Map:
        settings = self._host.settings
        return {
            "worker": self._host.worker,
            "node": settings.node,
            "pid": os.getpid(),
            "protocol": VERSION,
            "code": code_version(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "emulated": settings.emulated,
            "stages": [runner.spec.to_map() for runner in self._host.stages.values()],
        }

    async def _health(self, _: Map) -> Map:
        stages = [
            {
                "deployment": key[0],
                "epoch": key[1],
                "stage": key[2],
                "idle": run.idle,
                "draining": run.draining,
                "in_hand": run.in_hand,
                "served": run.served,
            }
            for key, run in self._host.stages.items()
        ]
        claimed_by = self._host.claim.controller
        return self._facts() | {"health": stages, "claimed_by": claimed_by, "uptime_s": self._host.uptime_s}

    async def _logs(self, given: Map) -> Map:
        return {"lines": self._host.log.read(**given)}

    async def _engines(self, _: Map) -> Map:
        """What each backend says of itself; an engine that isn't there says why."""
        return {"engines": await asyncio.to_thread(lambda: {name: _engine(name) for name in BACKENDS})}

    async def _has_artifact(self, given: Map) -> Map:
        return {"held": self._host.store.has(str(given["artifact"]))}

    async def _load_stage(self, given: Map) -> Map:
        spec = StageSpec.from_map(given["spec"])
        if spec.slowdown > 1 and not self._host.settings.emulated:
            raise NodesError(f"stage {spec.stage!r}: a slowdown is for one-machine use; start workers with --emulated")
        started_s = perf_counter()
        program = await self._load(
            spec.artifact, spec.backend, precision=spec.precision, threads=spec.threads, options=spec.options
        )
        if all(tensor.shape and None not in tensor.shape[1:] for tensor in program.inputs):
            await asyncio.to_thread(_warm_up, program)
        await self._host.hold(spec, program)
        described = {
            "inputs": [[t.name, t.dtype, t.shape] for t in program.inputs],
            "outputs": [[t.name, t.dtype, t.shape] for t in program.outputs],
        }
        return {"seconds": perf_counter() - started_s, **described}

    async def _load(
        self, artifact: str, backend: str, *, precision: str, threads: int, options: Mapping[str, Option]
    ) -> Program:
        if backend not in BACKENDS:
            raise NodesError(f"no backend {backend!r}; this worker knows {', '.join(BACKENDS)}")
        folder = self._host.store.path(artifact)
        return await asyncio.to_thread(
            lambda: Program.load(folder, backend=backend, precision=precision, threads=threads, options=options)
        )

    async def _drop_stage(self, given: Map) -> Map:
        key = (str(given["deployment"]), int(given["epoch"]), str(given["stage"]))
        return {"held": await self._host.drop(key, float(given.get("drain_s", 5.0)))}

    async def _measure(self, given: Map) -> Map:
        """Seconds of an artifact's runs, unslowed, one measurement at a time."""
        async with self._measuring:
            program = await self._load(
                given["artifact"],
                given["backend"],
                precision=given.get("precision", "float32"),
                threads=int(given.get("threads", 1)),
                options=given.get("options", {}),
            )
            try:
                feeds = unpack(decode(given["feeds"])) if given.get("feeds") else zeros(program.inputs)
                runs, warmup = int(given.get("runs", 20)), int(given.get("warmup", 3))
                samples_s = await asyncio.to_thread(_time_runs, program, feeds, runs, warmup)
            finally:
                program.close()
        self._host.touch()
        return {"median_s": median(samples_s), "samples_s": samples_s}

    async def _cell(self, given: Map) -> Map:
        """What a process of its own measures of an engine in one setting, one measurement at a time."""
        async with self._measuring:
            answer = await measure_cell(given, self._host.store)
        self._host.touch()
        return answer

    async def _shape(self, given: Map) -> Map:
        if self._host.shaper is None:
            raise NodesError("links are shaped in one-machine use only; start the worker with --emulated")
        links = [ShapedLink(**link) for link in given["links"]]
        paths = {(source, target): tuple(tuple(ends) for ends in path) for source, target, path in given["paths"]}
        self._host.shaper.shape(links, paths)
        return {}

    async def _probe(self, given: Map) -> Map:
        interval_s = given.get("interval_s")
        self._host.probe_s = None if interval_s is None else float(interval_s)
        return {}

    async def _shutdown(self, _: Map) -> Map:
        self._host.log.write("shut down by its controller")
        asyncio.get_running_loop().call_later(0.05, self._host.stopped.set)  # after this answer has left
        return {}


def zeros(inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Feeds of zeros, free dimensions 1."""
    return {spec.name: held.zeros([1 if dim is None else dim for dim in spec.shape], spec.dtype) for spec in inputs}


def _warm_up(program: Program) -> None:
    """One run, so that the first request doesn't pay for what engines do lazily; zeros may not suit a function."""
    try:
        program.run(zeros(program.inputs))
    except NodesError:
        return  # a stage that really can't run says so at its first request, with that request's tensors


def _time_runs(program: Program, feeds: Mapping[str, Array], runs: int, warmup: int) -> list[float]:
    """Seconds of each run. Between runs it sleeps, as a stage does until its next request: a busy loop is faster."""
    samples_s = []
    for index in range(warmup + max(1, runs)):
        fresh = {name: array.copy() for name, array in feeds.items()}  # as tensors come: not in the nearest cache
        sleep(IDLE_S)
        started_s = perf_counter()
        program.run(fresh)
        if index >= warmup:
            samples_s.append(perf_counter() - started_s)
    return samples_s


def _engine(name: str) -> Map:
    try:
        found = load_backend(name).capabilities()
    except NodesError as error:
        return {"missing": str(error)}
    return {"version": found.version, "devices": list(found.devices), "precisions": list(found.precisions)}


def _fault_map(error: NodesError) -> Map:
    fault = fault_of(error)
    return {"error": {"kind": fault.kind, "message": fault.message, "caller_fault": fault.caller_fault}}


def _secret(context: Any) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == SECRET), "")


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong or missing token; give the one in its --token-file")


_REFUSE_UNARY = grpc.unary_unary_rpc_method_handler(_refuse)
_REFUSALS = {
    "Stream": grpc.stream_stream_rpc_method_handler(_refuse),
    "Watch": grpc.unary_stream_rpc_method_handler(_refuse),
    "PutArtifact": grpc.stream_unary_rpc_method_handler(_refuse),
}
