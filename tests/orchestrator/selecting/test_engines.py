"""Which cells there are: what is installed and what it computes in; what is not is a row with its reason."""

import pytest

from nodes.selecting.cells import Cell
from nodes.selecting.exchange import Told
from orchestrator.errors import SpecError
from orchestrator.selecting.engines import Wanted, ask_engines, cells_of, check_precisions
from tests.orchestrator.selecting.given import HALF, ORT, OV, TOLD, Engines


def test_every_engine_by_its_precisions_and_threads() -> None:
    cells, refused = cells_of(Wanted(threads=(1, 2)), TOLD)
    assert len(cells) == 6
    assert {ORT, OV, HALF, Cell(backend="openvino", precision="bfloat16", threads=2)} < set(cells)
    assert refused == {}


def test_a_precision_that_an_engine_lacks_is_a_row_with_its_reason() -> None:
    cells, refused = cells_of(Wanted(precisions=("bfloat16",)), TOLD)
    assert cells == (HALF,)
    ((cell, found),) = refused.items()
    assert cell == Cell(backend="onnxruntime", precision="bfloat16")
    assert found.reason == "onnxruntime here computes in float32, not bfloat16"


def test_an_engine_that_is_not_installed_is_a_row_with_the_way_out() -> None:
    cells, refused = cells_of(Wanted(), {"tvm": Told(backend="tvm", missing='pip install "isthmus[tvm]"')})
    assert cells == ()
    assert [found.reason for found in refused.values()] == ['pip install "isthmus[tvm]"']


def test_a_variant_runs_once_on_each_engine_whatever_its_precisions() -> None:
    cells, _ = cells_of(Wanted(variants=("float32", "int8")), TOLD)
    assert [cell.name for cell in cells if cell.variant == "int8"] == [
        "onnxruntime int8 form ×1",
        "openvino int8 form ×1",
    ]


def test_a_variant_is_not_run_where_other_precisions_are_asked_for() -> None:
    forms = ("float32", "int8")
    cells = {one: cells_of(Wanted(precisions=(one,), variants=forms), TOLD)[0] for one in ("bfloat16", "float32")}
    assert [cell.variant for cell in cells["bfloat16"]] == ["float32"]
    assert [cell.variant for cell in cells["float32"]] == ["float32", "int8", "float32", "int8"]


def test_a_nodes_options_are_its_cells() -> None:
    cells, _ = cells_of(Wanted(options={"openvino": {"streams": 2}}), TOLD)
    assert {cell.backend: cell.options for cell in cells} == {"onnxruntime": (), "openvino": (("streams", 2),)}


def test_an_unknown_backend_is_named_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=r"no backend 'openvin'; there are onnxruntime, .*; did you mean 'openvino'\?"):
        ask_engines(["openvin"], Engines())


def test_an_unknown_precision_is_named_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=r"no precision 'fp16'; engines here compute in float32, bfloat16, float16"):
        check_precisions(["fp16"], TOLD)
    check_precisions(["float16"], TOLD)  # is one, if of no engine here
