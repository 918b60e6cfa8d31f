"""The set-up on systems that lack parts of Python, with a package of two lines in place of isthmus."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = """
[build-system]
requires = ["setuptools>=77,<85"]
build-backend = "setuptools.build_meta"
[project]
name = "isthmus"
version = "0"
[project.optional-dependencies]
cpu = []
openvino = []
zoo = ["iniconfig"]
tvm = []
mnn = []
tensorrt-rtx = []
onnxruntime-openvino = []
tune = []
bench = []
dev = ["pluggy"]
[tool.setuptools]
py-modules = []
"""
SYSTEM = """
import sys, sysconfig
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
if sys.prefix == sys.base_prefix:
    sys.meta_path.insert(0, Hide())
    real = sysconfig.get_path
    def get_path(name, *args, **more):
        return {stdlib!r} if name == "stdlib" and "pip" in sys.modules else real(name, *args, **more)
    sysconfig.get_path = get_path
"""
OWNERS = (sys.executable, os.path.realpath(sys.executable))  # of a pip; an environment made by uv has none
PIP_OWNER = next(
    (one for one in OWNERS if not subprocess.call([one, "-c", "import pip"], stderr=subprocess.DEVNULL)), None
)
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
pytestmark = [pytest.mark.slow, needs_make]


class Checkout:
    """A copy of the set-up's files beside a system that has only what the test leaves it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.site = folder / "clone", folder / "bin", folder / "site"
        for path in (self.root / "scripts", self.bin, self.site):
            path.mkdir(parents=True)
        for name in ("Makefile", "scripts/bootstrap.sh", "scripts/bootstrap.py"):
            shutil.copy(ROOT / name, self.root / name)
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "constraints.txt").write_text("iniconfig==2.1.0\n")
        for name in ("requirements-models.txt", "requirements-models-more.txt"):
            (self.root / name).write_text("")
        self.system()

    def system(self, *, hidden: tuple[str, ...] = (), managed: bool = False) -> None:
        """A python3 without the modules `hidden` and, if `managed`, with PEP 668's marker."""
        real = os.path.realpath(sys.executable)
        stdlib = str(self.site) if managed else os.path.dirname(os.__file__)
        (self.site / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=managed by the system\n")
        (self.site / "sitecustomize.py").write_text(SYSTEM.format(hidden=set(hidden), stdlib=stdlib))
        self.command("python3", f'PYTHONPATH={self.site} exec {real} "$@"')

    def command(self, name: str, body: str) -> None:
        """Puts a command of this content first on PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def refuse(self, requirement: str) -> None:
        """Makes a tool that the set-up fetches for itself impossible to have."""
        script = self.root / "scripts/bootstrap.py"
        text = script.read_text()
        assert requirement in text
        script.write_text(text.replace(requirement, f"{requirement.split('>', maxsplit=1)[0]}<0.0.1"))

    def make(self, target: str = "setup", path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
        """Runs make with our commands first on PATH."""
        env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        command = ["make", "-s", "-C", str(self.root), target]
        env["PATH"] = f"{self.bin}:{path}"
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def holds(self, package: str) -> str:
        """The version of a package in the environment that was built; fails if it isn't there."""
        code = f"from importlib.metadata import version; print(version({package!r}))"
        python = self.root / ".venv/bin/python"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_set_up_needs_neither_venv_nor_ensurepip_nor_leave_of_pep_668(checkout: Checkout) -> None:
    checkout.system(hidden=("venv", "ensurepip"), managed=True)
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert "downloads about" in done.stdout
    assert checkout.holds("iniconfig") == "2.1.0"


@pytest.mark.skipif(PIP_OWNER is None, reason="no Python here has pip")
def test_set_up_uses_a_pip_command_where_python3_has_no_pip_module(checkout: Checkout) -> None:
    checkout.system(hidden=("pip", "venv", "ensurepip"))
    checkout.command("pip", f'exec env -u PYTHONPATH {PIP_OWNER} -m pip "$@"')
    assert checkout.make().returncode == 0
    assert checkout.holds("iniconfig") == "2.1.0"


def test_set_up_falls_back_to_virtualenv_and_pip_without_uv_and_venv(checkout: Checkout) -> None:
    checkout.system(hidden=("venv", "ensurepip"), managed=True)
    checkout.refuse("uv>=0.8,<1")
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert checkout.holds("iniconfig") == "2.1.0"


def test_a_second_set_up_does_nothing_and_a_new_lock_is_followed(checkout: Checkout) -> None:
    checkout.make()
    assert checkout.make().stdout == ""
    (checkout.root / "constraints.txt").write_text("iniconfig==2.0.0\n")
    assert "up to date" in checkout.make().stdout
    assert checkout.holds("iniconfig") == "2.0.0"


def test_what_tests_need_comes_with_them_and_stays(checkout: Checkout) -> None:
    checkout.make()
    with pytest.raises(subprocess.CalledProcessError):
        checkout.holds("pluggy")
    assert "up to date" in checkout.make("develop").stdout
    assert checkout.make().stdout == checkout.make("develop").stdout == ""
    (checkout.root / "constraints.txt").write_text("iniconfig==2.0.0\npluggy==1.5.0\n")
    checkout.make()
    assert checkout.holds("pluggy") == "1.5.0"


def test_an_interrupted_set_up_is_told_and_started_afresh(checkout: Checkout) -> None:
    checkout.system(hidden=("pip",))
    checkout.command("pip3", 'case "$*" in *--version*) ;; *) kill -INT $PPID; sleep 5 ;; esac')
    stopped = checkout.make()
    assert stopped.returncode != 0
    assert "interrupted" in stopped.stderr
    (checkout.root / ".venv/left-over").touch()
    checkout.system()
    assert checkout.make().returncode == 0
    assert not (checkout.root / ".venv/left-over").exists()


def test_an_environment_of_the_users_own_is_never_deleted(checkout: Checkout) -> None:
    own = checkout.root / ".venv/own.txt"
    own.parent.mkdir()
    own.touch()
    done = checkout.make()
    assert done.returncode != 0
    assert "was not made by this make" in done.stderr
    assert own.exists()


def test_a_system_without_a_fitting_python_is_told_so_in_one_line(checkout: Checkout) -> None:
    for version in ("", "3", "3.11", "3.12", "3.13", "3.14"):
        checkout.command(f"python{version}", "exit 1")
    done = checkout.make()
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("isthmus needs Python 3.11 to 3.14")


def test_a_missing_pip_is_named_with_the_way_to_get_it(checkout: Checkout) -> None:
    checkout.system(hidden=("pip", "venv", "ensurepip"))
    for name in ("pip", "pip3"):
        checkout.command(name, "exit 1")
    done = checkout.make()
    assert done.returncode != 0
    assert "apt install python3-pip" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_stamp_tells_where_the_environment_lies(checkout: Checkout) -> None:
    checkout.make()
    moved = checkout.root.rename(checkout.root.with_name("moved"))
    checkout.root = moved
    assert "downloads about" in checkout.make().stdout
    assert str(moved) in json.loads((moved / ".venv/isthmus-ready.json").read_text())["place"]
