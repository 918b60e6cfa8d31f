"""int8 kernels: the core's own instructions, and numpy's sums."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nodes.backends.tvm.int8_dot import Int8Conv, export_kernel, matmul, pack
from nodes.backends.tvm.int8_intrinsics import intrinsic
from nodes.backends.tvm.targets import target
from nodes.errors import CompileError
from tests.nodes.boards import board, lacking, needs, serving

try:
    import tvm
except ImportError:
    lacking('pip install "isthmus[tvm]"')

Integers = NDArray[Any]
CONV = Int8Conv(height=9, width=9, channels=12, filters=20, rows=3, columns=3, stride=2)


def expected(conv: Int8Conv, x: Integers, w: Integers) -> Integers:
    made = np.zeros(conv.made, np.int64)
    for i, j in np.ndindex(*conv.made[:2]):
        i0, j0 = i * conv.stride, j * conv.stride
        made[i, j] = np.einsum("rcd,frcd->f", x[i0 : i0 + conv.rows, j0 : j0 + conv.columns].astype(np.int64), w)
    return made


def operands(conv: Int8Conv) -> tuple[Integers, Integers]:
    """Every value there is, the extremes often."""
    random, bounds = np.random.default_rng(5), np.iinfo(conv.dtype)
    shapes = (conv.height, conv.width, conv.channels), (conv.filters, conv.rows, conv.columns, conv.channels)
    x, w = (random.integers(bounds.min, bounds.max + 1, shape, conv.dtype) for shape in shapes)
    x[:, 0], x[:, 1], w[0], w[1] = bounds.min, bounds.max, bounds.min, bounds.max
    return x, w


@pytest.fixture(scope="module")
def device() -> Iterator[str]:
    from nodes.backends.tvm.cross import runtime

    emulated = board("aarch64", "cortex-a76")
    with runtime(target("cortex-a76")) as folder, serving(emulated, folder / "rpc_server") as (address, _):
        yield address


def on_device(address: str, library: Path, conv: Int8Conv, x: Integers, w: Integers) -> Integers:
    from tvm import rpc

    host, port = address.split(":")
    remote = rpc.connect(host, int(port))
    remote.upload(bytearray(library.read_bytes()), library.name)
    y = tvm.runtime.empty(conv.made, "int32", remote.cpu())
    given = [tvm.runtime.tensor(array, remote.cpu()) for array in (x, pack(conv, w))]
    remote.load_module(library.name)["main"](*given, y)
    return y.numpy()


def instructions(library: Path) -> str:
    needs("aarch64-linux-gnu-objdump")
    command = ["aarch64-linux-gnu-objdump", "-d", str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("dtype,instruction", [("int8", "sdot"), ("uint8", "udot")])
def test_a_core_with_dot_products_uses_them_and_sums_right(
    dtype: str, instruction: str, device: str, tmp_path: Path
) -> None:
    for number, conv in enumerate([matmul(6, 32, 24, dtype), replace(CONV, dtype=dtype)]):
        library = tmp_path / f"{dtype}-{number}.so"
        export_kernel(conv, target("cortex-a76"), library)
        assert f"\t{instruction}\t" in instructions(library)
        x, w = operands(conv)
        np.testing.assert_array_equal(on_device(device, library, conv, x, w), expected(conv, x, w))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_core_without_dot_products_sums_the_same_by_other_instructions(
    dtype: str, device: str, tmp_path: Path
) -> None:
    conv = replace(CONV, dtype=dtype)
    library = tmp_path / f"{dtype}.so"
    export_kernel(conv, target("cortex-a72"), library)
    assert "\tsdot\t" not in instructions(library) and "\tudot\t" not in instructions(library)
    x, w = operands(conv)
    np.testing.assert_array_equal(on_device(device, library, conv, x, w), expected(conv, x, w))


@pytest.mark.slow
def test_this_machine_sums_the_same_by_plain_loops(tmp_path: Path) -> None:
    assert intrinsic(target("host"), "int8") is None
    export_kernel(CONV, target("host"), tmp_path / "kernel.so")
    x, w = operands(CONV)
    y = tvm.runtime.empty(CONV.made, "int32")
    tvm.runtime.load_module(str(tmp_path / "kernel.so"))["main"](
        tvm.runtime.tensor(x), tvm.runtime.tensor(pack(CONV, w)), y
    )
    np.testing.assert_array_equal(y.numpy(), expected(CONV, x, w))


def test_what_does_not_come_in_fours_is_refused_by_name() -> None:
    with pytest.raises(CompileError, match="multiples of four, not 30 channels and 24 filters: pad"):
        matmul(6, 30, 24)


def test_other_types_are_refused_by_name() -> None:
    with pytest.raises(CompileError, match="int8 or uint8, not int16"):
        matmul(4, 4, 4, "int16")
