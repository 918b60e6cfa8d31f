"""Nothing of ours unpickles what comes from elsewhere: by what the sources name, and by what is loaded.

Ray is apart: it pickles calls between its own processes, which all hold the cluster's token (docs/threats.md).
"""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.test_layers import ROOT
from tests.test_shape import PACKAGES, sources

UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch"}
ALLOWED = {"isthmus/zoo/pth.py": {"pickle"}}  # weights of installed packages; its unpickler knows a few names only
EVALUATORS = {"eval", "exec", "compile", "__import__"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module.partition(".")[0]


def called(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_no_source_imports_what_unpickles() -> None:
    found = {file: set(imported(tree)) & UNPICKLERS for file, _, tree in sources(*PACKAGES)}
    assert {file: names for file, names in found.items() if names} == ALLOWED


def test_numpy_is_never_allowed_to_unpickle() -> None:
    allowing = [
        f"{file}:{call.lineno}"
        for file, _, tree in sources(*PACKAGES)
        for call in called(tree)
        for keyword in call.keywords
        if keyword.arg == "allow_pickle"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert allowing == []


def test_text_is_never_evaluated_and_yaml_makes_no_objects() -> None:
    found = [
        f"{file}:{call.lineno}"
        for file, _, tree in sources(*PACKAGES)
        for call in called(tree)
        if (isinstance(call.func, ast.Name) and call.func.id in EVALUATORS)
        or (isinstance(call.func, ast.Attribute) and call.func.attr in ("unsafe_load", "full_load"))
    ]
    assert found == []


@pytest.mark.slow
def test_a_worker_s_process_never_unpickles(tmp_path: object) -> None:
    """With pickle's loads made to fail, a worker's modules load and frames are still read."""
    code = """
import pickle
def refuse(*_, **__):
    raise AssertionError("unpickled")
pickle.loads = pickle.load = refuse
pickle.Unpickler = None
import numpy as np
import nodes.control_service, nodes.worker
from nodes.codec import pack, unpack
from nodes.framing import Header, decode, encode
feeds = {"x": np.ones((1, 4), np.float32)}
assert np.array_equal(unpack(decode(encode(pack(Header(), feeds, {}))))["x"], feeds["x"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
