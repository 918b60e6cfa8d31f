"""The wheel, as a stranger installs it: into an empty environment, beside files with our packages' names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from nodes.worker import parse

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("partitioner", "policies", "nodes", "orchestrator", "simulations", "isthmus")
UV = shutil.which("uv", path=os.pathsep.join([f"{sys.prefix}/bootstrap/bin", f"{sys.prefix}/bin", os.environ["PATH"]]))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(UV is None, reason="uv is not installed (make setup brings it)")]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user would, with no variable of this environment's own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def uv(*arguments: str | Path) -> None:
    """Runs uv; fails with what it said."""
    done = run(UV or "uv", *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def environment(folder: Path, *requirements: str | Path) -> Path:
    """An empty environment with these requirements, at the versions of the lock; its bin folder."""
    uv("venv", "-q", "--python", os.path.realpath(sys.executable), folder)
    constraints = ("-c", ROOT / "constraints.txt")
    uv("pip", "install", "-q", "--python", folder / "bin/python", *constraints, *requirements)
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy that holds no build's leftovers."""
    folder = tmp_path_factory.mktemp("build")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    uv("build", "-q", "--wheel", "--out-dir", folder / "dist", folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and what it asks for."""
    return environment(tmp_path_factory.mktemp("installed") / "venv", f"{wheel}[cpu]")


@pytest.fixture(scope="module")
def worker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment as small as a board's."""
    requirements = ("-r", ROOT / "requirements-worker.txt", "onnxruntime")
    folder = environment(tmp_path_factory.mktemp("worker") / "venv", *requirements)
    uv("pip", "install", "-q", "--python", folder / "python", "--no-deps", wheel)
    return folder


@pytest.fixture
def beside_a_stranger(tmp_path: Path) -> Path:
    """A folder with a nodes.py of the user's own."""
    (tmp_path / "nodes.py").write_text("raise SystemExit('the stranger was imported')\n")
    return tmp_path


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in ZipFile(wheel).namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_command_runs_beside_a_strangers_nodes_py(installed: Path, beside_a_stranger: Path) -> None:
    done = run(installed / "isthmus", "--version", cwd=beside_a_stranger)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("arguments", [("-c", "from isthmus import load_model"), ("-m", "isthmus", "--version")])
def test_a_stranger_that_would_be_imported_is_refused_with_its_path(
    installed: Path, beside_a_stranger: Path, arguments: tuple[str, ...]
) -> None:
    done = run(installed / "python", *arguments, cwd=beside_a_stranger)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert str(beside_a_stranger / "nodes.py") in last
    assert "rename it" in last


def test_a_stranger_imported_first_is_refused_too(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "policies.py").write_text("")
    done = run(installed / "python", "-c", "import policies; from isthmus import Client", cwd=tmp_path)
    assert str(tmp_path / "policies.py") in done.stderr.splitlines()[-1]


def test_the_public_names_are_there(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "python", "-c", "from isthmus import Client, load_model, plan_for", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_worker_starts_from_its_own_requirements_alone(worker: Path, tmp_path: Path) -> None:
    done = run(worker / "python", "-m", "nodes.worker", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--listen" in done.stdout


@pytest.mark.parametrize("package", ["ray", "pydantic", "networkx", "onnx", "typer", "yaml"])
def test_a_workers_environment_holds_no(worker: Path, tmp_path: Path, package: str) -> None:
    assert run(worker / "python", "-c", f"import {package}", cwd=tmp_path).returncode == 1


def test_the_service_starts_a_worker_with_options_that_it_knows() -> None:
    unit = (ROOT / "deploy/isthmus-worker.service").read_text().replace("\\\n", " ")
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    options = parse(line.partition("-m nodes.worker")[2].replace("$ISTHMUS_OPTIONS", "").split())
    assert options.token_file is not None
    assert options.orphan_s == float("inf")
