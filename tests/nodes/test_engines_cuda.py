"""ONNX Runtime's accelerators by name: taken where they are, refused with the way out where not, never silently CPU."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nodes.backend import Option
from nodes.backends import onnxruntime_cuda, onnxruntime_package, onnxruntime_providers
from nodes.backends.onnxruntime import OnnxRuntime
from nodes.backends.onnxruntime_cuda import CUDA
from nodes.backends.onnxruntime_provider import HOST, Provider
from nodes.backends.onnxruntime_providers import PROVIDERS
from nodes.errors import CompileError, EngineMissing
from tests.nodes.onnx_models import dense
from tests.nodes.processor import by_intel

MODEL = dense().SerializeToString()
AZURE = Provider(name="AzureExecutionProvider", install="onnxruntime")  # in every CPU package, and runs no operator


def part(provider: str, *operators: str) -> Any:
    nodes = [SimpleNamespace(name=name, op_type="Relu") for name in operators]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


class Recorded:
    """Stands for the engine on a machine with an accelerator: keeps how sessions were asked for."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        provider: str,
        placed: Sequence[Any],
        *,
        used: str = "",
        inputs: Sequence[Any] = (),
    ) -> None:
        self.asked: dict[str, Any] = {}
        session = SimpleNamespace(
            get_providers=lambda: [used or provider, HOST.name],
            get_provider_graph_assignment_info=lambda: placed,
            get_inputs=lambda: inputs,
            get_outputs=list,
        )

        class InferenceSession:
            get_provider_graph_assignment_info = None

            def __new__(cls, _source: object, options: Any, **rest: Any) -> Any:
                self.asked.update(rest, options=options)
                return session

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider, HOST.name])
        monkeypatch.setattr(onnxruntime, "InferenceSession", InferenceSession)


def test_without_the_gpu_package_the_refusal_names_its_extra() -> None:
    if CUDA.name in onnxruntime.get_available_providers():
        pytest.skip("needs the CPU package of ONNX Runtime, onnxruntime-gpu is installed")
    with pytest.raises(EngineMissing, match=r"lacks CUDAExecutionProvider \(it has .*CPU.*isthmus\[gpu\]"):
        onnxruntime_cuda.load()


def test_without_a_gpu_the_refusal_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Recorded(monkeypatch, CUDA.name, [])
    monkeypatch.setattr(onnxruntime_cuda, "DEVICES", (tmp_path / "nvidiactl",))
    with pytest.raises(EngineMissing, match="no NVIDIA GPU"):
        onnxruntime_cuda.load()


def test_with_a_gpu_cuda_comes_first_in_full_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project")])
    monkeypatch.setattr(onnxruntime_cuda, "DEVICES", (tmp_path,))
    backend = onnxruntime_cuda.load()
    assert backend.capabilities().devices == ("cuda", "cpu") and backend.capabilities().backend == "onnxruntime-cuda"
    backend.compile(MODEL)
    assert engine.asked["providers"] == [(CUDA.name, {"use_tf32": "0"}), HOST.name]


def test_a_provider_that_takes_no_operator_is_refused() -> None:
    with pytest.raises(CompileError, match=r"azure: AzureExecutionProvider takes no operator .*\(project, cut_off\)"):
        OnnxRuntime(AZURE, name="onnxruntime-azure").compile(MODEL)


def test_a_silent_fall_back_to_the_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded(monkeypatch, CUDA.name, [], used=HOST.name)
    with pytest.raises(CompileError, match="fell back to CPUExecutionProvider from CUDAExecutionProvider"):
        OnnxRuntime(CUDA).compile(MODEL)


def test_a_run_that_fails_is_not_tried_again_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project")])
    OnnxRuntime(CUDA).compile(MODEL)
    assert engine.asked["enable_fallback"] == 0


def test_operators_left_to_the_cpu_are_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project"), part(HOST.name, "cut_off", "")])
    with caplog.at_level(logging.WARNING):
        assert OnnxRuntime(CUDA).compile(MODEL).on_cpu == ("cut_off", "Relu")
    assert "leaves 2 operators to the CPU: cut_off, Relu" in caplog.text


def test_operators_left_to_the_cpu_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project"), part(HOST.name, "cut_off")])
    with pytest.raises(CompileError, match=r"leaves 1 of 2 operators to the CPU: cut_off; .* option cpu_fallback"):
        OnnxRuntime(CUDA).compile(MODEL, options={"cpu_fallback": False})


def test_an_older_engine_is_told_itself_to_keep_off_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project")])
    monkeypatch.delattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
    OnnxRuntime(CUDA).compile(MODEL, options={"cpu_fallback": False})
    assert engine.asked["providers"] == [(CUDA.name, {"use_tf32": "0"})]
    assert engine.asked["options"].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


def test_a_providers_own_options_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Recorded(monkeypatch, CUDA.name, [part(CUDA.name, "project")])
    OnnxRuntime(CUDA).compile(MODEL, options={"provider_options": "device_id=1; use_tf32=1"})
    assert engine.asked["providers"][0] == (CUDA.name, {"use_tf32": "1", "device_id": "1"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider_options": "device_id"}, "has 'device_id', must be KEY=VALUE"),
        ({"cache": True}, "cannot keep its compiled models; leave out the option cache"),
    ],
)
def test_what_a_provider_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Option], message: str
) -> None:
    Recorded(monkeypatch, "MIGraphXExecutionProvider", [])
    with pytest.raises(CompileError, match=message):
        onnxruntime_providers.migraphx().compile(MODEL, options=options)


def test_a_chip_without_float32_claims_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded(monkeypatch, "VitisAIExecutionProvider", [])
    with pytest.raises(CompileError, match="onnxruntime-vitisai runs bfloat16, not float32"):
        onnxruntime_providers.vitisai().compile(MODEL)


def test_a_chip_for_fixed_shapes_refuses_free_ones_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 8])
    Recorded(monkeypatch, "QNNExecutionProvider", [], inputs=[free])
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    backend = onnxruntime_providers.qnn()
    assert not backend.capabilities().free_shapes
    with pytest.raises(CompileError, match="onnxruntime-qnn takes fixed shapes only, and input 'x' has a free one"):
        backend.compile(MODEL)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_provider_is_one_that_onnx_runtime_knows(name: str) -> None:
    assert PROVIDERS[name].name in onnxruntime.get_all_providers()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_that_is_not_there_is_refused_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, PROVIDERS[name].plugin, None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [HOST.name])
    with pytest.raises(EngineMissing) as caught:
        onnxruntime_providers.load(name)
    assert name in str(caught.value) and PROVIDERS[name].install in str(caught.value)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A provider's package whose library is no library."""
    library = tmp_path / "libprovider.so"
    library.write_text("no library")
    monkeypatch.setitem(sys.modules, "made_up_plugin", SimpleNamespace(get_library_path=lambda: str(library)))
    return "made_up_plugin"


def test_a_plugin_that_does_not_load_is_refused_in_one_line(plugin: str) -> None:
    with pytest.raises(EngineMissing, match=r"made_up_plugin does not load: .*libprovider") as caught:
        OnnxRuntime(Provider(name="MarsExecutionProvider", install="mars", plugin=plugin))
    assert "\n" not in str(caught.value)


def test_a_plugin_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch, plugin: str) -> None:
    monkeypatch.setattr(onnxruntime_package, "_register", lambda *_: None)
    with pytest.raises(
        EngineMissing, match=r"MarsExecutionProvider finds no device that it drives; here are cpu by \w+"
    ):
        OnnxRuntime(Provider(name="MarsExecutionProvider", install="mars", plugin=plugin))


@pytest.mark.skipif(not by_intel(), reason="OpenVINO's plugin drives Intel's devices only; this CPU is another's")
def test_openvinos_plugin_runs_a_whole_model_in_float32_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one provider beside the CPU's that can be had without an accelerator."""
    pytest.importorskip("onnxruntime_ep_openvino", reason="pip install onnxruntime-ep-openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    backend = onnxruntime_providers.openvino()
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)}
    want = OnnxRuntime().compile(MODEL).run(feeds)
    for _ in range(2):
        session = backend.compile(MODEL, options={"cpu_fallback": False, "cache": True, "device": "cpu"})
        np.testing.assert_allclose(session.run(feeds)["y"], want["y"], rtol=1e-5)
    with pytest.raises(CompileError, match="option device is 'tpu'; here are cpu"):
        backend.compile(MODEL, options={"device": "tpu"})
