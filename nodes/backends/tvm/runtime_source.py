"""TVM's runtime built from the C++ sources in its wheels, for an architecture that has no wheel.

It holds what runs a compiled model: the foreign-function layer, CPU devices, threads and the virtual machine. It has no
RPC, no key-value caches, no GPUs. Headers that the wheels leave out are ours: `runtime_support.h` stands for them all.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HEADER = Path(__file__).parent / "runtime_support.h"
# Where the sources look for each: sources include "../support/…" and "../../support/…" beside the include path.
_MISSING = (
    "a/b/tvm/support/io.h", "a/b/tvm/support/serializer.h", "a/b/tvm/support/cuda/nvtx.h", "a/b/builtin_fp16.h",
    "a/support/bytes_io.h", "a/support/base64.h", "a/support/utils.h", "support/bytes_io.h", "support/utils.h",
)  # fmt: skip
_SOURCES = {
    "tvm_ffi": ("src/ffi/*.cc", "src/ffi/extra/*module*.cc", "src/ffi/extra/env_c*.cc", "src/ffi/extra/json_*.cc"),
    "tvm": (
        "src/runtime/*.cc", "src/runtime/memory/*.cc", "src/runtime/vm/vm.cc", "src/runtime/vm/builtin.cc",
        "src/runtime/vm/executable.cc", "src/runtime/vm/bytecode.cc",
    ),
}  # fmt: skip
_LIBRARIES = {"tvm_ffi": "tvm_ffi", "tvm": "tvm_runtime"}  # in the order they are linked
_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-pthread", "-DTVM_FFI_USE_LIBBACKTRACE=0", "-DTVM_FFI_BACKTRACE_ON_SEGFAULT=0")


def build_runtime(
    compiler: str,
    include_flags: Sequence[str],
    folder: Path,
    *,
    packages: Mapping[str, Path],
    run: Callable[[Sequence[str]], None],
) -> None:
    """libtvm_ffi.so and libtvm_runtime.so in `folder`, in half a minute.

    `packages` says where TVM's packages lie; `run` runs a compiler and raises its errors.
    """
    with tempfile.TemporaryDirectory() as place:
        include = [f"-I{_headers(Path(place))}", *include_flags, f"-I{packages['tvm'] / 'src'}"]
        commands = []
        for package, patterns in _SOURCES.items():
            # All of a library as one source: its headers, which are most of the work, are read once.
            paths = sorted(path for pattern in patterns for path in packages[package].glob(pattern))
            Path(place, f"{package}.cc").write_text("".join(f'#include "{path}"\n' for path in paths))
            commands.append([compiler, *_FLAGS, *include, "-c", "-o", f"{place}/{package}.o", f"{place}/{package}.cc"])
        with ThreadPoolExecutor() as pool:
            list(pool.map(run, commands))
        for package, library in _LIBRARIES.items():
            link = ["-shared", f"-Wl,-soname,lib{library}.so", "-Wl,-rpath,$ORIGIN", f"{place}/{package}.o"]
            below = [] if package == "tvm_ffi" else [f"-L{folder}", "-ltvm_ffi"]
            run([compiler, *_FLAGS, *link, *below, "-ldl", "-o", str(folder / f"lib{library}.so")])


def _headers(place: Path) -> Path:
    for name in _MISSING:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f'#include "{HEADER}"\n')
    return place / "a" / "b"
