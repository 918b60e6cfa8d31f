"""What docs/engines.md says of engines against what they say of themselves and what the contract lets them refuse."""

import pytest

from nodes.backend import BACKENDS, load_backend
from nodes.errors import EngineMissing
from tests.contracts.refusals import REFUSALS
from tests.test_docs import ROOT, names, rows

ENGINES = (ROOT / "docs/engines.md").read_text()


def test_the_refusals_are_those_of_the_contract() -> None:
    told = {row[0]: sorted(names(row[1])) for row in rows(ENGINES, "case")}
    assert told == {case: sorted(engines) for case, engines in REFUSALS.items()}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "mnn", "tvm"])
def test_an_engines_options_are_those_it_has(engine: str) -> None:
    table = rows(ENGINES[ENGINES.index("## Options") :], "engine")
    told = {names(row[1])[0]: row[2] for row in table if names(row[0]) == [engine]}
    try:
        has = load_backend(engine).capabilities().options
    except EngineMissing as missing:
        pytest.skip(str(missing))
    assert told == has


def test_every_engine_is_told_of() -> None:
    told = {name for row in rows(ENGINES, "engine") for name in names(row[0])}
    told |= {f"onnxruntime{name}" for name in told if name.startswith("-")}
    assert set(BACKENDS) <= told
