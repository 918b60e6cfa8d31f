"""What every test shares: Hypothesis without deadlines (machines differ) and, in CI, without luck; and who runs beside
whom. `make test` runs most tests in several processes (`--part together`), then those that need the machine to
themselves one by one (`--part alone`); without the option all run in one process.
"""

import os

import pytest
from hypothesis import settings

from tests.shared_cluster import cluster_home, shared_client

__all__ = ["cluster_home", "shared_client"]

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

PARTS = ("together", "alone")
CLUSTERS = {"cluster_home", "shared_client"}  # fixtures: one cluster of Ray's on a machine at a time
ALONE = (
    "tests/benchmarks/test_leaks.py::test_switches",
    "tests/benchmarks/test_tuning.py",
    "tests/benchmarks/test_tvm_tuning.py",
    "tests/benchmarks/test_whole_runs.py::test_pipeline",
    "tests/benchmarks/test_whole_runs.py::test_prediction",
    "tests/examples/test_examples.py::test_classify",
    "tests/orchestrator/test_alone.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--part` chooses tests by whether they can run beside others."""
    parser.addoption("--part", choices=PARTS, help="only tests that can run beside others, or only those that cannot")


def needs_the_machine(item: pytest.Item) -> bool:
    """Whether a test uses Ray, network namespaces or all of /dev/shm, or measures how fast something is."""
    marked = item.nodeid.startswith(ALONE) or any(item.get_closest_marker(name) for name in ("alone", "lab"))
    return marked or not CLUSTERS.isdisjoint(getattr(item, "fixturenames", ()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to the other part. Files with slow tests come first, so that no process is done early."""
    part = config.getoption("part")
    if part is not None:
        sorted_out: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            sorted_out[needs_the_machine(item)].append(item)
        slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
        items[:] = sorted(sorted_out[part == "alone"], key=lambda item: item.path not in slow)
        config.hook.pytest_deselected(items=sorted_out[part != "alone"])
