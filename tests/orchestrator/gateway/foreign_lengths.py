"""What tritonclient does with a model of several lengths, run by a Python of its own.

python foreign_lengths.py GRPC HTTP
"""

import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

Both = Any


def inputs(library: Both, length: int) -> list[Any]:
    """A text of so many tokens, all of them to be seen."""
    made = []
    for name in ("ids", "mask"):
        tensor = library.InferInput(name, [1, length], "INT64")
        tensor.set_data_from_numpy(np.ones((1, length), np.int64))
        made.append(tensor)
    return made


def main(grpc: str, http: str) -> None:
    """Both libraries: each length, metadata, and one that is too long."""
    for library, url in ((tritonclient.grpc, grpc), (tritonclient.http, http)):
        with library.InferenceServerClient(url) as client:
            told = client.get_model_metadata("words", **({"as_json": True} if library is tritonclient.grpc else {}))
            shapes = {one["name"]: [int(dim) for dim in one["shape"]] for one in told["inputs"] + told["outputs"]}
            wanted = {"ids": [-1, -1], "mask": [-1, -1], "each": [-1, -1, 8], "mean": [-1, 8]}
            assert shapes == wanted, shapes
            for length, filled in ((1, 4), (3, 4), (8, 8), (20, 32)):
                result = client.infer("words", inputs(library, length))
                assert result.as_numpy("each").shape == (1, filled, 8), length
            try:
                client.infer("words", inputs(library, 40))
            except InferenceServerException as error:
                assert "input 'ids' is 40 long along axis 1, its lengths are 4, 8, 32" in error.message(), error
                assert error.status() in ("StatusCode.INVALID_ARGUMENT", "400"), error.status()
            else:
                raise AssertionError("a text that is too long was answered")


if __name__ == "__main__":
    main(*sys.argv[1:])
