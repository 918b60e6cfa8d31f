"""Profiles a normalised model on the engines of this machine: seconds per operator, per call, per registered function.

Each engine runs the whole model as it will in earnest, and its own kernel times are shared out to the operators they
fuse (attribution.py). Segments that a plan really uses are timed whole, by a worker (timing.py). Controller only.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from nodes.attribution import attribute
from nodes.backend import Array, Backend, load_backend
from nodes.backends import onnxruntime
from nodes.functions import function
from nodes.model_parts import ModelParts
from nodes.normalising.functions import params_of
from nodes.timing import sample_feeds, time_together
from partitioner.profile import EngineKey, EngineProfile, Profile

TRACED_RUNS = 7
CALL_SECONDS = 0.02


def profile_model(
    model: Path, engines: Sequence[EngineKey], *, feeds: Mapping[str, Array] | None = None, seconds: float = 0.5
) -> Profile:
    """Seconds per operator on each engine; the whole model runs about `seconds` on each, in turn with the others.

    `feeds` are sample inputs, needed where a registered function wants a real picture. EngineMissing for an engine that
    isn't installed here, UnsupportedOperator where one cannot run the model. The profile has no codec figures yet:
    codec_errors.py measures those.
    """
    with ExitStack() as undo:
        parts = undo.enter_context(ModelParts(model, feeds))
        calls: dict[str, Callable[[], object]] = {}
        for node in parts.functions:
            calls[f"function {node.name}"] = _function_call(node, parts)
        if parts.core_path is not None:
            for index, key in enumerate(engines):
                calls[f"model {index}"] = _session_call(parts.core_path, key, undo, parts)
        timed = time_together(calls, seconds=seconds)
        # By themselves: beside a whole model a call would be charged for the caches that the model emptied.
        tiny = {f"call {index}": _session_call(_tiny(), key, undo) for index, key in enumerate(engines)}
        timed |= time_together(tiny, seconds=CALL_SECONDS)
        function_s = {node.name: timed[f"function {node.name}"].median_s for node in parts.functions}
        unfused_s = _kernels_s(onnxruntime.load(fuse=False), None, parts) if parts.core_path else {}
        profiles = {}
        for index, key in enumerate(engines):
            call_s = timed[f"call {index}"].median_s
            operator_s: dict[str, float] = {}
            if parts.core_path is not None:
                total_s = max(timed[f"model {index}"].median_s - call_s, 0.0)
                kernels_s = _kernels_s(load_backend(key.backend), key, parts)
                operator_s = attribute(parts.wiring, kernels_s, unfused_s, total_s)
            profiles[key] = EngineProfile(operator_s=operator_s | function_s, call_s=call_s)
    return Profile(model=sha256(model.read_bytes()).hexdigest(), engines=profiles)


def _session_call(
    model: bytes | Path, key: EngineKey, undo: ExitStack, parts: ModelParts | None = None
) -> Callable[[], object]:
    session = load_backend(key.backend).compile(model, precision=key.precision, threads=key.threads)
    undo.callback(session.close)
    return partial(session.run, parts.feeds_of(session) if parts else sample_feeds(session.inputs))


def _function_call(node: onnx.NodeProto, parts: ModelParts) -> Callable[[], object]:
    arrays = [parts.values.value(name) for name in node.input]
    return partial(function(node.op_type).run, params_of(node), *arrays)


def _tiny() -> bytes:
    """A model that computes next to nothing: what a call costs by itself."""
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "tiny", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    encoded: bytes = model.SerializeToString()
    return encoded


def _kernels_s(backend: Backend, key: EngineKey | None, parts: ModelParts) -> Mapping[str, float]:
    """The engine's own times per kernel; none where it doesn't tell."""
    assert parts.core_path is not None
    precision, threads = (key.precision, key.threads) if key else ("float32", 1)
    session = backend.compile(parts.core_path, precision=precision, threads=threads, profile=True)
    try:
        feeds = parts.feeds_of(session)
        for _ in range(TRACED_RUNS):
            session.run(feeds)
        return session.operator_s() or {}
    finally:
        session.close()
