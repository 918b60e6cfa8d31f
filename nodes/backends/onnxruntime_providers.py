"""ONNX Runtime's providers for other accelerators, each a backend of its own name.

What they do beyond their names was seen on no such hardware here, but for OpenVINO's on a CPU. Each computes in the
precisions listed: where a chip has no float32, none is claimed.
"""

import json
from functools import partial

from nodes.backends.onnxruntime import OnnxRuntime
from nodes.backends.onnxruntime_provider import Provider


def _openvino(hint: str) -> dict[str, str]:
    """OpenVINO's own settings; it ignores those that are not said this way, and computes in bfloat16 if it can."""
    cpu = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": "$threads", "NUM_STREAMS": "1"}
    gpu = {"INFERENCE_PRECISION_HINT": hint}
    return {"load_config": json.dumps({"CPU": cpu, "GPU": gpu, "NPU": gpu})}


PROVIDERS = {
    "onnxruntime-coreml": Provider(
        name="CoreMLExecutionProvider",
        install='"isthmus[cpu]" on a Mac',
        precisions={
            "float32": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUOnly"},
            "float16": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
        },
        kept="",
    ),
    "onnxruntime-dml": Provider(name="DmlExecutionProvider", install="onnxruntime-directml", kept="optimised"),
    "onnxruntime-migraphx": Provider(
        name="MIGraphXExecutionProvider",
        install="onnxruntime-migraphx",
        precisions={"float32": {}, "float16": {"migraphx_fp16_enable": "1"}, "bfloat16": {"migraphx_bf16_enable": "1"}},
        kept="",
    ),
    "onnxruntime-openvino": Provider(
        name="OpenVINOExecutionProvider",
        install="onnxruntime-ep-openvino",
        plugin="onnxruntime_ep_openvino",
        precisions={"float32": _openvino("f32"), "bfloat16": _openvino("bf16"), "float16": _openvino("f16")},
        free_shapes=False,  # shapes that contradict each other make it read beside its tensors
    ),
    "onnxruntime-qnn": Provider(
        name="QNNExecutionProvider",
        install="onnxruntime-qnn",
        plugin="onnxruntime_qnn",
        precisions={
            "float32": {"enable_htp_fp16_precision": "0"},  # then only quantised operators are the NPU's
            "float16": {"enable_htp_fp16_precision": "1"},
        },
        free_shapes=False,
    ),
    "onnxruntime-tensorrt": Provider(
        name="TensorrtExecutionProvider",
        install='"isthmus[gpu]", and TensorRT 10',
        precisions={"float32": {}, "float16": {"trt_fp16_enable": "1"}, "bfloat16": {"trt_bf16_enable": "1"}},
    ),
    "onnxruntime-tensorrt-rtx": Provider(
        name="NvTensorRTRTXExecutionProvider",
        install="onnxruntime-ep-nv-tensorrt-rtx",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
    ),
    "onnxruntime-vitisai": Provider(
        name="VitisAIExecutionProvider",
        install="onnxruntime-vitisai",
        precisions={"bfloat16": {}},
        kept="",
        free_shapes=False,
    ),
    "onnxruntime-webgpu": Provider(
        name="WebGpuExecutionProvider",
        install="onnxruntime-ep-webgpu",
        plugin="onnxruntime_ep_webgpu",
        kept="optimised",
    ),
}


def load(name: str) -> OnnxRuntime:
    """The backend of that name. EngineMissing where its package, its library or a device for it is absent."""
    return OnnxRuntime(PROVIDERS[name], name=name)


coreml = partial(load, "onnxruntime-coreml")
dml = partial(load, "onnxruntime-dml")
migraphx = partial(load, "onnxruntime-migraphx")
openvino = partial(load, "onnxruntime-openvino")
qnn = partial(load, "onnxruntime-qnn")
tensorrt = partial(load, "onnxruntime-tensorrt")
tensorrt_rtx = partial(load, "onnxruntime-tensorrt-rtx")
vitisai = partial(load, "onnxruntime-vitisai")
webgpu = partial(load, "onnxruntime-webgpu")
