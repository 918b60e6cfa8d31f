"""What the KServe SDK's clients do with a gateway, run by a Python of their own.

python foreign_kserve.py GRPC HTTP; exits 0 if all that it asks comes back as it should. Not in one process with
tritonclient: both bring the same messages, and collide.
"""

import asyncio
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

FLOATS = np.arange(4, dtype=np.float32).reshape(2, 2)


def asked(*, binary: bool) -> Any:
    """One request."""
    tensor = InferInput(name="x", shape=[2, 2], datatype="FP32")
    tensor.set_data_from_numpy(FLOATS, binary_data=binary)
    return InferRequest(model_name="float32", infer_inputs=[tensor])


async def story(grpc: str, http: str) -> None:
    """REST and gRPC."""
    rest, base = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://{http}"
    assert await rest.is_server_live(base)
    assert await rest.is_server_ready(base)
    assert await rest.is_model_ready(base, "float32")
    for binary in (False, True):
        answer = await rest.infer(base, asked(binary=binary), model_name="float32")
        assert np.array_equal(answer.outputs[0].as_numpy(), FLOATS)
    client = InferenceGRPCClient(url=grpc)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("float32")
    for binary in (False, True):
        answer = await client.infer(asked(binary=binary))
        assert np.array_equal(answer.outputs[0].as_numpy(), FLOATS)
    await client.close()


if __name__ == "__main__":
    asyncio.run(story(*sys.argv[1:]))
