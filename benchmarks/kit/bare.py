"""Each engine called bare, without our Session around it: the peer of benchmarks/backends.py.

The very engine object that a Session holds is called by its vendor's own API, as its documentation shows, so that
nothing but our wrapping is between the two.
"""

from collections.abc import Callable, Mapping
from typing import Any

from nodes.backend import Array


def bare(backend: str, session: Any, feeds: Mapping[str, Array]) -> Callable[[], object]:
    """A call of the engine beneath `session` on `feeds`; KeyError for an engine that no one wrote down here."""
    return _BARE[backend](session, list(feeds.values()), list(feeds))


def _onnxruntime(session: Any, arrays: list[Array], names: list[str]) -> Callable[[], object]:
    engine, outputs = session._session, [spec.name for spec in session.outputs]
    feeds = dict(zip(names, arrays, strict=True))
    return lambda: engine.run(outputs, feeds)


def _openvino(session: Any, arrays: list[Array], names: list[str]) -> Callable[[], object]:
    import openvino

    request, count = session._request, len(session.outputs)

    def call() -> object:
        for index, array in enumerate(arrays):
            request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
        request.infer()
        return [request.get_output_tensor(index).data for index in range(count)]

    return call


def _mnn(session: Any, arrays: list[Array], names: list[str]) -> Callable[[], object]:
    import MNN
    import numpy as np

    expr, net = MNN.expr, session._net
    kinds = {"float32": expr.float, "int64": expr.int, "int32": expr.int, "uint8": expr.uint8}
    given = [array.astype(np.int32) if array.dtype == np.int64 else array for array in arrays]

    def call() -> object:
        made = net.forward(
            [expr.const(array, list(array.shape), expr.NCHW, kinds[array.dtype.name]) for array in given]
        )
        return [one.read() for one in made]

    return call


def _tvm(session: Any, arrays: list[Array], names: list[str]) -> Callable[[], object]:
    from nodes.backends.tvm.vendor import tvm

    machine, tensor = session._machine, tvm().runtime.tensor

    def call() -> object:
        made = machine["main"](*(tensor(array) for array in arrays))
        return [one.numpy() for one in (made if hasattr(made, "__len__") and not hasattr(made, "numpy") else [made])]

    return call


_BARE: Mapping[str, Callable[[Any, list[Array], list[str]], Callable[[], object]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "mnn": _mnn,
    "tvm": _tvm,
}
