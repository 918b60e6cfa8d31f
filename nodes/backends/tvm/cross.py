"""Compilers and runtime libraries for another machine than this one.

The libraries are TVM's own: taken from its wheels for that architecture, of exactly the version installed here, the
compiler left out. riscv64, which has no wheels, gets them built from the sources in them. Nothing is tuned or run here.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nodes.backends.tvm.runtime_source import HEADER, build_runtime
from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import tvm
from nodes.cache import CacheKey, engine_cache
from nodes.errors import CompileError, EngineMissing

RUNNER, RPC_SERVER = "runner", "rpc_server"
WHEELS = {"apache-tvm": ("tvm/lib/libtvm_runtime.so", "tvm/lib/libtvm_runtime_extra.so"),
          "apache-tvm-ffi": ("tvm_ffi/lib/libtvm_ffi.so",)}  # fmt: skip
_WHEEL_PLATFORM = {"aarch64-linux-gnu": "manylinux_2_28_aarch64"}
WITHOUT_WHEELS = ("riscv64-linux-gnu",)  # whose runtime, built here, has no RPC
_FORM = 1  # of what is made here; a new one makes it anew
_HERE = Path(__file__).parent
_SEVERAL_MINUTES_S = 600.0


def fcompile(spec: TargetSpec) -> Callable[..., None] | None:
    """What TVM's `export_library` links with; None, TVM's own choice, for this machine."""
    if spec.compiler is None:
        return None
    path = compiler(spec)
    from tvm.support import cc

    made: Callable[..., None] = cc.cross_compiler(path)
    return made


def compiler(spec: TargetSpec) -> str:
    """The path of the target's g++; CompileError that names the Debian package where it is missing."""
    command = spec.compiler or "g++"
    path = shutil.which(command)
    if path is None:
        package = f"g++-{spec.triple}" if spec.triple else "g++"
        raise CompileError(f"{command} is missing, which target {spec.name} links with; apt-get install {package}")
    return path


@contextmanager
def runtime(spec: TargetSpec) -> Iterator[Path]:
    """A folder, kept in the cache, that runs models on the target: TVM's libraries, `runner` and, with wheels,
    `rpc_server`.

    CompileError where the wheels cannot be had or a program does not compile.
    """
    sources = b"".join(_source(name).read_bytes() for name in (RUNNER, RPC_SERVER)) + HEADER.read_bytes()
    key = CacheKey(
        model=sha256(sources).hexdigest(),
        engine="; ".join(f"{name} {_version(name)}" for name in WHEELS),
        target=spec.triple or "host",
        options={"form": _FORM, "compiler": compiler(spec)},
    )
    with engine_cache().entry(key, lambda folder: _make(spec, folder)) as folder:
        yield folder


def libraries(folder: Path) -> tuple[str, ...]:
    """Names of TVM's libraries in a runtime's folder: all that their programs load."""
    return tuple(sorted(path.name for path in folder.glob("libtvm*.so")))


def include_flags() -> list[str]:
    """What a C++ program against TVM's runtime is compiled with."""
    roots = installed()
    include = ("include", "3rdparty/dlpack/include")
    return [f"-I{roots['tvm'] / 'include'}", *(f"-I{roots['tvm_ffi'] / path}" for path in include)]


def installed() -> dict[str, Path]:
    """Where TVM's two packages lie here."""
    root = Path(tvm().__file__).parent
    import tvm_ffi

    return {"tvm": root, "tvm_ffi": Path(tvm_ffi.__file__).parent}


def compile_cpp(command: Sequence[str]) -> None:
    """Run a compiler; CompileError with its first complaint."""
    done = _run(command)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        told = next((line for line in lines if "error" in line), lines[-1])
        raise CompileError(f"{Path(command[0]).name}: {told.strip()[:400]}")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SEVERAL_MINUTES_S)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{command[0]} was not done after {_SEVERAL_MINUTES_S:g} s, and was ended") from None


def _make(spec: TargetSpec, folder: Path) -> None:
    if spec.triple is None:
        _copy_installed(folder)
    elif spec.triple in WITHOUT_WHEELS:
        build_runtime(compiler(spec), include_flags(), folder, packages=installed(), run=compile_cpp)
    else:
        _from_wheels(_WHEEL_PLATFORM[spec.triple], folder)
    names = [f"-l{Path(name).stem.removeprefix('lib')}" for name in libraries(folder)]
    for program in (RUNNER,) if spec.triple in WITHOUT_WHEELS else (RUNNER, RPC_SERVER):
        # Every library is linked, called by name or not: they register what the VM and RPC call.
        flags = ["-std=c++17", "-O2", "-pthread", "-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN", f"-L{folder}"]
        target = ["-o", str(folder / program), str(_source(program))]
        compile_cpp([compiler(spec), *flags, *include_flags(), *target, *names])


def _copy_installed(folder: Path) -> None:
    roots = installed()
    for member in (member for members in WHEELS.values() for member in members):
        package, _, rest = member.partition("/")
        shutil.copy(roots[package] / rest, folder)


def _from_wheels(platform: str, folder: Path) -> None:
    pinned = [f"{name}=={_version(name)}" for name in WHEELS]
    fetch = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform", platform, *pinned]
    fetch += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    with tempfile.TemporaryDirectory() as place:
        done = _run([*_pip(), *fetch, "--dest", place])
        if done.returncode:
            told = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-200:])
            raise CompileError(f"TVM's runtime for {platform} cannot be had: pip {' '.join(fetch)}: {told.strip()}")
        for name, members in WHEELS.items():
            (wheel,) = Path(place).glob(f"{name.replace('-', '_')}-*.whl")
            _unpack(wheel, members, folder)


def _pip() -> list[str]:
    """The pip of this Python, or else any: an environment made by uv has none, and every pip can fetch these wheels."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        if shutil.which(command[0]) and not _run([*command, "--version"]).returncode:
            return command
    raise CompileError(
        "TVM's runtime for another architecture is fetched by pip, and none is here: python -m ensurepip"
    )


def _unpack(wheel: Path, members: Sequence[str], folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                (folder / Path(member).name).write_bytes(archive.read(member))
    except (KeyError, zipfile.BadZipFile) as error:
        raise CompileError(f"{wheel.name} is no wheel of TVM as expected: {error}") from None


def _source(program: str) -> Path:
    return _HERE / f"{program}.cc"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise EngineMissing('TVM is not installed; pip install "isthmus[tvm]"') from None
