"""What an engine refuses of the contract, by name and before compiling; docs/engines.md tells users the same."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nodes.backend import Backend
from nodes.errors import CompileError

# Of each case, the engines that refuse it and how they say so.
REFUSALS = {
    "free shapes": {
        "tvm": "free",
        "onnxruntime-openvino": "takes fixed shapes only, and input '.*' has a free one",
    },
    # Nothing is raised: operator_s() is None, and the operators' shares are those seen on another engine.
    "kernel times": {"onnxruntime-openvino": ""},
}


def refuses(backend: Backend, case: str) -> bool:
    """Whether the engine is listed for this case."""
    return backend.capabilities().backend in REFUSALS[case]


@contextmanager
def refused(backend: Backend, case: str) -> Iterator[None]:
    """What is done inside must be refused in one line, in the words that are listed."""
    with pytest.raises(CompileError) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert re.search(REFUSALS[case][backend.capabilities().backend], str(caught.value))
