"""Inputs that may be shorter: what fills them up, what is refused, and that a router answers them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nodes.backend import TensorSpec
from nodes.errors import BadInput
from orchestrator.blueprint import check_names
from orchestrator.errors import SpecError
from orchestrator.padding import padded, with_free_axes
from orchestrator.router import Router
from tests.orchestrator.small_site import WIDE, answer_of, blueprint_of
from tests.orchestrator.test_spec import INPUT, SPEC, fault, read
from tests.orchestrator.worker_site import WorkerSite

IDS = (TensorSpec("ids", "int64", (1, 4)), TensorSpec("mask", "int64", (1, 4)))


def test_what_is_too_short_is_filled_up_and_only_where_the_spec_says_so() -> None:
    two = np.array([[7, 8]])
    found = padded(IDS, {"ids": (1, 9)}, {"ids": two, "mask": two})
    assert found["ids"].tolist() == [[7, 8, 9, 9]]
    assert found["ids"].dtype == np.int64
    assert found["mask"] is two


@pytest.mark.parametrize("shape", [(1, 4), (1, 5), (1, 0), (2,), (1, 2, 1)])
def test_what_is_not_too_short_stays_as_it_is(shape: tuple[int, ...]) -> None:
    given = np.zeros(shape, np.int64)
    assert padded(IDS, {"ids": (1, 0)}, {"ids": given})["ids"] is given


def test_callers_see_that_axis_as_free() -> None:
    assert [spec.shape for spec in with_free_axes(IDS, {"ids": (1, 0)})] == [(1, None), (1, 4)]


def test_it_is_read_from_the_spec_and_other_specs_keep_their_digests(tmp_path: Path) -> None:
    spec = read(tmp_path, SPEC.replace(INPUT, "{at: camera, pad: {axis: 1, value: 3}}"))
    assert spec.inputs[0].pad == (1, 3)
    assert spec.digest != read(tmp_path, SPEC.replace(INPUT, "{at: camera}")).digest
    line = fault(tmp_path, INPUT, "{at: camera, pad: {axis: 0}}")
    assert line == "spec.yaml: inputs.input.pad.axis: should be greater than or equal to 1, is 0"


@pytest.mark.parametrize(
    ("pad", "told"), [((2, 0), r"inputs.x.pad.axis: 2, while its shape is \[1, 4096\]"), ((1, 0.5), None)]
)
def test_an_axis_that_the_model_has_not_is_refused(tmp_path: Path, pad: tuple[int, float], told: str | None) -> None:
    blueprint = blueprint_of(tmp_path)
    spec = replace(blueprint.spec, inputs=(replace(blueprint.spec.inputs[0], pad=pad),))
    if told is None:
        check_names(spec, blueprint.model)
        return
    with pytest.raises(SpecError, match=told):
        check_names(spec, blueprint.model)


@pytest.mark.slow
def test_a_router_answers_short_inputs_as_if_they_were_filled_up(workers: WorkerSite) -> None:
    async def story() -> None:
        router = Router(on_drained=lambda _name, _epoch: None)
        await router.switch(replace(await workers.load("short", 1), pads={"x": (1, 0.0)}))
        short = np.ones((1, 100), np.float32)
        whole = np.concatenate([short, np.zeros((1, WIDE - 100), np.float32)], axis=1)
        answer = await router.infer("short", {"x": short})
        assert np.allclose(answer.outputs["y"], answer_of(whole), atol=1e-3)
        with pytest.raises(BadInput, match="wants"):
            await router.infer("short", {"x": np.ones((1, WIDE + 1), np.float32)})
        await router.close()

    workers.do(story())
