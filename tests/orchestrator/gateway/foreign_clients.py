"""What the public clients do with a gateway, run by a Python of their own: tritonclient, unmodified.

python foreign_clients.py STORY GRPC HTTP

A story is a function below; it exits 0 if all that it asks comes back as it should.
"""

import asyncio
import queue
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, shared_memory

KINDS = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
WORDS = np.array([[b"", b"\xff\x00"], ["münchen".encode(), b"a" * 300]], np.object_)
FLOATS = np.arange(4, dtype=np.float32).reshape(2, 2)
Both = Any


def inputs(library: Both, array: Any, kind: str, **how: Any) -> list[Any]:
    """One input named x."""
    tensor = library.InferInput("x", list(array.shape), kind)
    tensor.set_data_from_numpy(array, **how)
    return [tensor]


def every_datatype(library: Both, client: Any) -> None:
    """Each, binary, comes back bit by bit."""
    for model, kind in KINDS.items():
        limits = None if model == "bool" else np.finfo(model) if model.startswith("float") else np.iinfo(model)
        values = [[True, False], [False, True]] if limits is None else [[limits.min, limits.max], [0, 1]]
        array = np.array(values, model)
        result = client.infer(model, inputs(library, array, kind), request_id=f"a {model}")
        assert np.array_equal(result.as_numpy("y"), array), model
    narrow = np.array([[1.5, -2.25], [0.0, 3e38]], ml_dtypes.bfloat16)
    result = client.infer("bfloat16", inputs(library, narrow, "BF16"))
    assert np.array_equal(result.as_numpy("y"), narrow), result.as_numpy("y")
    result = client.infer("string", inputs(library, WORDS, "BYTES"))
    assert (result.as_numpy("y") == WORDS).all()


def facts(client: Any) -> None:
    """Health, metadata, configuration, index, statistics."""
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("pair")
    assert client.is_model_ready("pair", "3") and not client.is_model_ready("pair", "4")
    assert not client.is_model_ready("nobody")
    client.get_server_metadata()
    client.get_model_metadata("pair", "2")
    client.get_model_config("pair")
    client.get_model_repository_index()
    client.get_inference_statistics("pair")
    client.get_inference_statistics()


def refusals(library: Both, client: Any) -> None:
    """What is wrong is an InferenceServerException that says what."""
    for model, array, kind, said in (
        ("nobody", FLOATS, "FP32", "no model 'nobody'"),
        ("float32", FLOATS.astype(np.float64), "FP64", "input 'x' is FP64, expected FP32"),
        ("float32", FLOATS.reshape(4), "FP32", "has shape [4], expected [-1, 2]"),
    ):
        try:
            client.infer(model, inputs(library, array, kind))
        except InferenceServerException as error:
            assert said in error.message(), error
        else:
            raise AssertionError(f"{model} answered")


def grpc_sync(grpc: str, _http: str) -> None:
    """tritonclient.grpc."""
    with tritonclient.grpc.InferenceServerClient(grpc) as client:
        facts(client)
        every_datatype(tritonclient.grpc, client)
        refusals(tritonclient.grpc, client)
        came: queue.Queue[Any] = queue.Queue()
        client.async_infer(
            "float32", inputs(tritonclient.grpc, FLOATS, "FP32"), lambda result, error: came.put((result, error))
        )
        result, error = came.get(timeout=20)
        assert error is None and np.array_equal(result.as_numpy("y"), FLOATS)
        wanted = [tritonclient.grpc.InferRequestedOutput("y", class_count=1)]
        result = client.infer("float32", inputs(tritonclient.grpc, FLOATS, "FP32"), outputs=wanted)
        assert result.as_numpy("y").tolist() == [[b"1.000000:1"], [b"3.000000:1"]]


def grpc_stream(grpc: str, _http: str) -> None:
    """Fifty requests of one stream, one of them wrong."""
    came: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(grpc) as client:
        client.start_stream(lambda result, error: came.put((result, error)))
        for number in range(50):
            model = "nobody" if number == 25 else "float32"
            client.async_stream_infer(
                model, inputs(tritonclient.grpc, FLOATS + number, "FP32"), request_id=str(number),
                enable_empty_final_response=True,
            )  # fmt: skip
        found = [came.get(timeout=20) for _ in range(50)]
        client.stop_stream()
    (fault,) = [error for _, error in found if error is not None]
    assert "no model 'nobody'" in fault.message(), fault
    answers = {int(result.get_response().id): result for result, error in found if error is None}
    assert sorted(answers) == [number for number in range(50) if number != 25]
    for number, result in answers.items():
        assert np.array_equal(result.as_numpy("y"), FLOATS + number)
        assert result.get_response().parameters["triton_final_response"].bool_param


def http_sync(_grpc: str, http: str) -> None:
    """tritonclient.http: binary and JSON, packed and plain."""
    with tritonclient.http.InferenceServerClient(http, concurrency=2) as client:
        facts(client)
        every_datatype(tritonclient.http, client)
        refusals(tritonclient.http, client)
        for is_binary in (True, False):
            for packing in (None, "gzip", "deflate"):
                wanted = [tritonclient.http.InferRequestedOutput("y", binary_data=is_binary)]
                result = client.infer(
                    "float32", inputs(tritonclient.http, FLOATS, "FP32", binary_data=is_binary), outputs=wanted,
                    request_compression_algorithm=packing, response_compression_algorithm=packing,
                )  # fmt: skip
                assert np.array_equal(result.as_numpy("y"), FLOATS)
        pending = [client.async_infer("float32", inputs(tritonclient.http, FLOATS, "FP32")) for _ in range(4)]
        assert all(np.array_equal(each.get_result().as_numpy("y"), FLOATS) for each in pending)


async def _aio(library: Both, url: str) -> None:
    async with library.InferenceServerClient(url) as client:
        assert await client.is_server_live()
        assert (await client.is_model_ready("float32")) is True
        results = await asyncio.gather(
            *(client.infer("float32", inputs(library, FLOATS + each, "FP32")) for each in range(8))
        )
        for each, result in enumerate(results):
            assert np.array_equal(result.as_numpy("y"), FLOATS + each)


def aio(grpc: str, http: str) -> None:
    """Both asyncio clients, and a stream."""
    asyncio.run(_aio(tritonclient.grpc.aio, grpc))
    asyncio.run(_aio(tritonclient.http.aio, http))
    asyncio.run(_aio_stream(grpc))


async def _aio_stream(grpc: str) -> None:
    async def asking() -> Any:
        for number in range(5):
            yield {
                "model_name": "float32",
                "inputs": inputs(tritonclient.grpc.aio, FLOATS + number, "FP32"),
                "request_id": str(number),
            }

    async with tritonclient.grpc.aio.InferenceServerClient(grpc) as client:
        seen = set()
        async for result, error in client.stream_infer(asking()):
            assert error is None
            seen.add(result.get_response().id)
        assert seen == set("01234"), seen


def memory(grpc: str, http: str) -> None:
    """Inputs and outputs in system shared memory, as the public examples do it."""
    for library, url in ((tritonclient.grpc, grpc), (tritonclient.http, http)):
        with library.InferenceServerClient(url) as client:
            client.unregister_system_shared_memory()
            client.unregister_cuda_shared_memory()
            handle = shared_memory.create_shared_memory_region("both", "/isthmus-test-region", 2 * FLOATS.nbytes)
            try:
                shared_memory.set_shared_memory_region(handle, [FLOATS + 7])
                client.register_system_shared_memory("both", "/isthmus-test-region", 2 * FLOATS.nbytes)
                assert "both" in str(client.get_system_shared_memory_status())
                tensor = library.InferInput("x", [2, 2], "FP32")
                tensor.set_shared_memory("both", FLOATS.nbytes)
                wanted = library.InferRequestedOutput("y")
                wanted.set_shared_memory("both", FLOATS.nbytes, FLOATS.nbytes)
                result = client.infer("float32", [tensor], outputs=[wanted])
                assert result.get_output("y") is not None
                found = shared_memory.get_contents_as_numpy(handle, np.float32, [2, 2], FLOATS.nbytes)
                assert np.array_equal(found, FLOATS + 7)
                client.unregister_system_shared_memory("both")
                assert "both" not in str(client.get_system_shared_memory_status())
            finally:
                shared_memory.destroy_shared_memory_region(handle)


STORIES = (grpc_sync, grpc_stream, http_sync, aio, memory)

if __name__ == "__main__":
    {story.__name__: story for story in STORIES}[sys.argv[1]](*sys.argv[2:])
