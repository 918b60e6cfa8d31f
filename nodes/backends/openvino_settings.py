"""How OpenVINO is to compile a model: a user's options, the devices they name, and what each device is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodes.backend import Option
from nodes.errors import CompileError
from nodes.options import Options

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
NATIVE = {"FP32": "float32", "BF16": "bfloat16", "FP16": "float16"}
MODES = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
CHOOSERS = ("AUTO", "HETERO", "MULTI")  # devices that stand for several: one of them, parts on each, all in turn
OPTIONS = {
    "mode": "latency: all threads on one inference (the default), or throughput: several at once",
    "streams": "how many inferences run at once; 1 in latency mode, one a thread in throughput mode unless given",
    "device": "CPU (the default), GPU, NPU, or AUTO:, HETERO:, MULTI: and devices with commas, such as HETERO:GPU,CPU",
    "cache": "the compiled model is kept on disk and not compiled again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one `compile` asks for; `members` are the devices behind `device`."""

    precision: str
    threads: int
    profile: bool
    mode: str
    streams: int
    device: str
    members: tuple[str, ...]
    cache: bool

    @classmethod
    def read(
        cls, engine: str, core: Any, given: Mapping[str, Option], *, precision: str, threads: int, profile: bool
    ) -> "Settings":
        """CompileError for an option this engine doesn't have, an absent device, or a precision that it lacks."""
        with Options(engine, given) as options:
            mode = options.choice("mode", "latency", tuple(MODES))
            streams = options.count("streams", threads if mode == "throughput" else 1)
            device = options.text("device", "CPU").upper().replace(" ", "")
            cache = options.switch("cache", False)
        members = _members(engine, device, tuple(core.available_devices))
        for member in members:
            if precision not in (native := precisions(core, member)):
                raise CompileError(f"{engine} here computes in {', '.join(native)} on {member}, not {precision}")
        if cache and device.startswith(("AUTO", "MULTI")):
            raise CompileError(f"{engine} keeps no model compiled for {device}; name one device, or leave out cache")
        return cls(
            precision=precision,
            threads=threads,
            profile=profile,
            mode=mode,
            streams=streams,
            device=device,
            members=members,
            cache=cache,
        )

    @property
    def several(self) -> bool:
        """Whether the device stands for others."""
        return self.device.startswith(CHOOSERS)

    def config(self) -> dict[str, Any]:
        """The engine's properties."""
        if not self.several:
            return self._properties(self.device)
        # Or AUTO would answer from the CPU, in another device's stead, until that one has compiled the model.
        strict = {"ENABLE_STARTUP_FALLBACK": False} if self.device.startswith("AUTO") else {}
        return {**strict, "DEVICE_PROPERTIES": {member: self._properties(member) for member in self.members}}

    def _properties(self, device: str) -> dict[str, Any]:
        shared = {
            "PERFORMANCE_HINT": MODES[self.mode],
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "PERF_COUNT": self.profile,
        }
        if not device.startswith("CPU"):
            return shared
        own = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": self.streams, "ENABLE_CPU_PINNING": False}
        return {**shared, **own}


def precisions(core: Any, device: str) -> tuple[str, ...]:
    """Those that a device computes in natively."""
    native = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    return tuple(name for key, name in NATIVE.items() if key in native)


def _members(engine: str, device: str, here: tuple[str, ...]) -> tuple[str, ...]:
    """The devices that one name stands for; AUTO alone stands for all."""
    chooser, _, listed = device.partition(":")
    stands_for = tuple(listed.split(",")) if listed else here
    members = stands_for if chooser in CHOOSERS else (device,)
    for member in members:
        if not any(one == member or one.startswith(f"{member}.") for one in here):
            raise CompileError(
                f"{engine}: no device {member!r} is here; there are {', '.join(here)}, "
                f"and {', '.join(CHOOSERS)} over them"
            )
    return members
