"""Control calls to a worker, typed; its errors come back as the classes they were there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import msgpack

from nodes import errors
from nodes.artifact import MANIFEST, hash_file, read
from nodes.backend import NO_OPTIONS, Array, Option, TensorSpec
from nodes.codec import pack
from nodes.emulation import ShapedLink
from nodes.errors import NodesError, StreamClosed
from nodes.framing import Header, encode
from nodes.stage_spec import StageSpec
from nodes.stream import SERVICE, TOKEN, channel_to, refusal

SECRET = "isthmus-secret"
CHUNK_BYTES = 1 << 20
Map = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The worker that was claimed or re-adopted, and the stages that it holds.

    `code` is the version of its code; "" where it is too old to tell.
    """

    worker: str
    node: str
    pid: int
    protocol: int
    python: str
    machine: str
    cores: int
    memory_bytes: int
    emulated: bool
    stages: tuple[StageSpec, ...]
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A stage that is ready, and how long that took."""

    seconds: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds of an artifact's runs, unslowed."""

    median_s: float
    samples_s: tuple[float, ...]


class WorkerClient:
    """One worker's control methods. Every method raises StreamClosed if the worker doesn't answer in time."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        controller: str = "",
        secret: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self.address = address
        self._controller = controller
        self._timeout_s = timeout_s
        self._metadata = tuple((key, value) for key, value in ((TOKEN, token or ""), (SECRET, secret)) if value)
        self._channel = channel_to(address)

    async def __aenter__(self) -> "WorkerClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; the worker goes on."""
        await self._channel.close()

    async def claim(self) -> Claimed:
        """Claim or re-adopt the worker. NotAuthorised if another controller holds it."""
        facts = await self._call("Claim", {"controller": self._controller})
        stages = tuple(StageSpec.from_map(stage) for stage in facts.pop("stages"))
        return Claimed(stages=stages, **{name: facts[name] for name in Claimed.__slots__ if name in facts})

    async def health(self) -> Map:
        """The worker's facts, its stages (`health`) and who claimed it; needs no claim."""
        return await self._call("Health", {})

    async def engines(self) -> dict[str, Map]:
        """Per backend version, devices and precisions, or why it is `missing`. Loads every engine once."""
        found: dict[str, Map] = (await self._call("Engines", {}, timeout_s=60.0))["engines"]
        return found

    async def logs(self, *, stage: str | None = None, deployment: str | None = None, limit: int = 200) -> list[Map]:
        """The last log lines, oldest first."""
        lines: list[Map] = (await self._call("Logs", {"stage": stage, "deployment": deployment, "limit": limit}))[
            "lines"
        ]
        return lines

    async def has_artifact(self, artifact: str) -> bool:
        """Whether the worker holds the artifact of that SHA-256."""
        return bool((await self._call("HasArtifact", {"artifact": artifact}))["held"])

    async def put_artifact(self, folder: Path, *, timeout_s: float = 600.0) -> str:
        """Send an artifact; its id. ArtifactError if what arrived isn't what the manifest promises."""
        artifact = hash_file(folder / MANIFEST)
        call = self._channel.stream_unary(f"/{SERVICE}/PutArtifact")
        answer = await self._answered(call(_chunks(folder, artifact), metadata=self._metadata, timeout=timeout_s))
        return str(answer["artifact"])

    async def load_stage(self, spec: StageSpec, *, timeout_s: float = 300.0) -> Loaded:
        """Compile and serve a stage. ArtifactError, CompileError, UnsupportedOperator, EngineMissing."""
        answer = await self._call("LoadStage", {"spec": spec.to_map()}, timeout_s=timeout_s)
        return Loaded(seconds=answer["seconds"], inputs=_specs(answer["inputs"]), outputs=_specs(answer["outputs"]))

    async def drop_stage(self, deployment: str, epoch: int, stage: str, *, drain_s: float = 5.0) -> bool:
        """Stop a stage once its requests are through, at most `drain_s`; False if the worker didn't hold it."""
        given = {"deployment": deployment, "epoch": epoch, "stage": stage, "drain_s": drain_s}
        return bool((await self._call("DropStage", given, timeout_s=drain_s + 10.0))["held"])

    async def measure(
        self,
        artifact: str,
        *,
        backend: str,
        precision: str = "float32",
        threads: int = 1,
        options: Mapping[str, Option] = NO_OPTIONS,
        runs: int = 20,
        warmup: int = 3,
        feeds: Mapping[str, Array] | None = None,
        timeout_s: float = 300.0,
    ) -> Measured:
        """Time an artifact that the worker holds, on `feeds` or on zeros."""
        given = {
            "artifact": artifact,
            "backend": backend,
            "precision": precision,
            "threads": threads,
            "options": dict(options),
            "runs": runs,
            "warmup": warmup,
            "feeds": None if feeds is None else encode(pack(Header(), feeds, {})),
        }
        answer = await self._call("Measure", given, timeout_s=timeout_s)
        return Measured(median_s=answer["median_s"], samples_s=tuple(answer["samples_s"]))

    async def cell(self, given: Map, timeout_s: float) -> Map:
        """Have a cell of `isthmus select` measured there; nodes/selecting/on_worker.py has both maps.

        ArtifactError for what the worker doesn't hold.
        """
        return await self._call("Cell", given, timeout_s=timeout_s)

    async def shape(
        self, links: Iterable[ShapedLink], paths: Mapping[tuple[str, str], Iterable[tuple[str, str]]] = {}
    ) -> None:
        """Set emulated links and the paths over them; NodesError unless the worker runs --emulated."""
        given = {
            "links": [asdict(link) for link in links],
            "paths": [[source, target, list(path)] for (source, target), path in paths.items()],
        }
        await self._call("Shape", given)

    async def probe(self, interval_s: float | None) -> None:
        """Measure streams idle for `interval_s` with padded pings; None (the default) leaves them alone."""
        await self._call("Probe", {"interval_s": interval_s})

    async def shutdown(self) -> None:
        """End the worker's process."""
        await self._call("Shutdown", {})

    async def watch(self) -> AsyncGenerator[Map, None]:
        """Events as they come: "watching" first, then "link", "stage_failed", "drained". StreamClosed at its end."""
        call = self._channel.unary_stream(f"/{SERVICE}/Watch")(b"", metadata=self._metadata)
        try:
            async for packed in call:
                yield _checked(msgpack.unpackb(packed))
        except grpc.aio.AioRpcError as error:
            raise await refusal(error, self.address) from None
        finally:
            call.cancel()
        raise StreamClosed(f"worker {self.address} ended")

    async def _call(self, name: str, given: Map, *, timeout_s: float | None = None) -> Map:
        call = self._channel.unary_unary(f"/{SERVICE}/{name}")
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return await self._answered(call(msgpack.packb(given), metadata=self._metadata, timeout=limit_s))

    async def _answered(self, call: Any) -> Map:
        try:
            packed = await call
        except grpc.aio.AioRpcError as error:
            raise await refusal(error, self.address) from None
        return _checked(msgpack.unpackb(packed))


async def _chunks(folder: Path, artifact: str) -> AsyncIterator[bytes]:
    yield msgpack.packb({"artifact": artifact})
    for name in (MANIFEST, *read(folder).files):
        with (folder / name).open("rb") as file:
            while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield msgpack.packb({"file": name, "data": data})


def _specs(given: Any) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in given)


def _checked(answer: Map) -> Map:
    """The answer, or the error in it, raised as the class it names."""
    if "error" not in answer:
        return answer
    raise error_of(answer["error"]["kind"], answer["error"]["message"])


def error_of(kind: str, message: str) -> NodesError:
    """An error by its class name; NodesError for a class unknown here."""
    found = getattr(errors, kind, NodesError)
    is_ours = isinstance(found, type) and issubclass(found, NodesError)
    return found(message) if is_ours else NodesError(f"{kind}: {message}")
