"""Makes an arm64 Python that runs here under qemu: Debian packages unpacked in a folder, wheels in folders beside.

    python scripts/arm_sysroot.py DIR [WHEEL==VERSION ...]
    QEMU_LD_PREFIX=DIR PYTHONPATH=DIR/site/WHEEL==VERSION qemu-aarch64-static DIR/usr/bin/python3

Nothing is installed: apt works on lists and a cache of its own, so no foreign architecture is added to this machine,
and root is not needed. What is there already is left as it is; several processes may ask at once. Standard library
only.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

PACKAGES = ("python3", "libstdc++6", "libgomp1")  # and what they depend on, which apt finds
STAMP = "sysroot.json"
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64")
PIPS = ((sys.executable, "-m", "pip"), ("pip3",), ("pip",))  # an environment may have none of its own
QUIETLY = {"LC_ALL": "C", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0"}
SEVERAL_MINUTES_S = 600


class SysrootFailed(Exception):
    """A step that did not work; the message is one line."""


def output_of(what: str, *command: str | Path) -> str:
    """What a command prints; SysrootFailed with the line in which it says why it failed."""
    try:
        done = subprocess.run(
            command, env=os.environ | QUIETLY, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=SEVERAL_MINUTES_S,
        )  # fmt: skip
    except FileNotFoundError:
        raise SysrootFailed(f"{what} needs {command[0]}, which Debian and Ubuntu have") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SysrootFailed(f"{what} failed: {error}") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = next((line for line in lines if line.startswith(("E:", "ERROR:"))), lines[-1] if lines else "no reason")
        raise SysrootFailed(f"{what} failed (exit {done.returncode}): {told}")
    return done.stdout


def works(*command: str) -> bool:
    """Whether a command exists and exits 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def apt_get(state: Path) -> tuple[str, ...]:
    """apt-get as on an arm64 machine on which nothing is installed; it reads this machine's sources and writes here."""
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",  # its usual user may not write here
        "APT::Update::Post-Invoke-Success": "",
        "Acquire::Languages": "none",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Log": state,
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    return ("apt-get", "--quiet=2", "--assume-yes", *options)


def unpack_packages(root: Path) -> None:
    """Fill an empty folder with the distribution's arm64 Python."""
    with tempfile.TemporaryDirectory(prefix="isthmus-apt-") as place:
        apt = apt_get(Path(place))
        output_of("reading the package lists of arm64", *apt, "update")
        output_of("downloading Python for arm64", *apt, "install", "--download-only", *PACKAGES)
        archives = sorted(Path(place, "archives").glob("*.deb"))
        for archive in archives:
            output_of(f"unpacking {archive.name}", "dpkg", "-x", archive, root)
    for name in ("share/doc", "share/man", "share/locale"):
        shutil.rmtree(root / "usr" / name, ignore_errors=True)
    if not (root / "usr/bin/python3").is_symlink():
        raise SysrootFailed(f"the arm64 packages {', '.join(PACKAGES)} hold no python3")
    (root / STAMP).write_text(json.dumps({"packages": [archive.name for archive in archives]}))


def unpack_wheel(requirement: str, version: str, folder: Path) -> None:
    """Fill an empty folder with an aarch64 wheel, as pip chooses and fetches it; its dependencies are not fetched."""
    pip = next((command for command in PIPS if works(*command, "--version")), None)
    if pip is None:
        raise SysrootFailed("fetching wheels needs pip (Debian, Ubuntu: apt install python3-pip)")
    with tempfile.TemporaryDirectory(prefix="isthmus-wheel-") as place:
        platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
        which = ["--python-version", version, "--only-binary=:all:", "--no-deps", *platforms]
        output_of(f"fetching {requirement} for arm64", *pip, "download", "-q", *which, "--dest", place, requirement)
        for wheel in Path(place).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)


def python_version(root: Path) -> str:
    """The sysroot's Python as pip writes it, such as 311."""
    return os.readlink(root / "usr/bin/python3").removeprefix("python").replace(".", "")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time for this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(path: Path, fill: Callable[[Path], None]) -> bool:
    """Make a folder whole or not at all, unless it is there; whether it was made now."""
    with alone(path):
        if path.exists():
            return False
        new = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            fill(new)
            new.chmod(0o755)
            new.rename(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return True


def size_mb(folder: Path) -> float:
    """Millions of bytes below a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


def make(root: Path, requirements: Sequence[str]) -> None:
    """The sysroot with these wheels; one line for each part, with its size."""
    if root.exists() and not (root / STAMP).exists():
        raise SysrootFailed(f"{root} is there and no sysroot of ours; name another folder")
    made = make_once(root, unpack_packages)
    version = python_version(root)
    print(f"{root}: Python {version[0]}.{version[1:]}, {size_mb(root):.0f} MB, {'made' if made else 'was there'}")
    for requirement in requirements:
        folder = root / "site" / requirement
        made = make_once(folder, partial(unpack_wheel, requirement, version))
        print(f"{folder}: {size_mb(folder):.0f} MB, {'made' if made else 'was there'}")


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Makes an arm64 Python that runs here under qemu.")
    parser.add_argument("folder", type=Path, help="where it shall be; used again if it is there")
    parser.add_argument("wheels", nargs="*", metavar="WHEEL==VERSION", help="unpacked to FOLDER/site/WHEEL==VERSION")
    given = parser.parse_args(arguments)
    try:
        make(given.folder.absolute(), given.wheels)
    except (SysrootFailed, OSError, zipfile.BadZipFile) as error:
        print(f"arm_sysroot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
