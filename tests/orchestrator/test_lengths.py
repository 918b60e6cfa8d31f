"""Several lengths behind one name: what is refused, which length an input is filled up to, and what is answered."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.backend import Session, TensorSpec, load_backend
from nodes.errors import BadInput
from nodes.normalise import normalise
from nodes.program import Program
from nodes.ragged import attached
from nodes.store import Store
from orchestrator.actions import Send
from orchestrator.artifacts import build, stage_artifact
from orchestrator.batching import Batching
from orchestrator.client import Client
from orchestrator.errors import SpecError
from orchestrator.model_file import prepare, read_model
from orchestrator.padding import bucket, padded
from orchestrator.router import Router
from orchestrator.router_feeds import taken
from orchestrator.router_frames import Sent, inputs_frame
from orchestrator.routes import Reach
from partitioner.plan import Plan
from tests.contracts.backend_models import transformer
from tests.orchestrator.ragged_site import LENGTHS, QUICK, blueprint_of, spec_of, text, words
from tests.orchestrator.test_spec import INPUT, SPEC, fault, read
from tests.orchestrator.worker_site import WorkerSite

PADS = {"ids": (1, 0), "mask": (1, 0)}
BOTH = {"ids": LENGTHS, "mask": LENGTHS}
TAKEN = (TensorSpec("ids", "int64", (1, 32)), TensorSpec("mask", "int64", (1, 32)))
PAD = "{axis: 1, value: 0, lengths: [4, 8]}"


def test_lengths_are_read_from_the_spec_and_other_specs_keep_their_digests(tmp_path: Path) -> None:
    spec = read(tmp_path, SPEC.replace(INPUT, f"{{at: camera, pad: {PAD}}}"))
    assert (spec.inputs[0].pad, spec.inputs[0].lengths) == ((1, 0), (4, 8))
    plain = read(tmp_path, SPEC.replace(INPUT, "{at: camera, pad: {axis: 1, value: 0}}"))
    assert plain.digest.startswith("ac3d65d414dd3075")  # as before there were lengths
    assert plain.digest != spec.digest


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ("[8]", "should be 2 to 16 lengths, are 1; one is the shape's own"),
        ("[8, 4]", "should ascend, are [8, 4]"),
        ("[4, 4]", "should ascend, are [4, 4]"),
        ("[0, 4]", "[0]: should be greater than or equal to 1, is 0"),
        ("16", "should be a list, not int 16"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(tmp_path: Path, lengths: str, told: str) -> None:
    line = fault(tmp_path, INPUT, f"{{at: camera, pad: {{axis: 1, lengths: {lengths}}}}}")
    assert line.replace("lengths[0]", "lengths: [0]").removeprefix("spec.yaml: inputs.input.pad.lengths: ") == told


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (
            f"{INPUT}, b: {{at: camera, pad: {{axis: 1, lengths: [1, 2, 3]}}}}, c: {{at: camera, pad: {PAD}}}",
            "inputs.c.pad.lengths: are 2, while b has 3; they go in pairs",
        ),
        (
            f"{{at: camera, shape: [1, 16], pad: {PAD}}}",
            "inputs.input.pad.lengths: go up to 8, while its shape is [1, 16]; the shape has the largest",
        ),
    ],
)
def test_lengths_that_do_not_go_together_are_refused(tmp_path: Path, inputs: str, told: str) -> None:
    assert fault(tmp_path, INPUT, inputs) == f"spec.yaml: {told}"


def test_a_model_that_keeps_state_has_one_length(tmp_path: Path) -> None:
    line = fault(tmp_path, INPUT + "}", f"{{at: camera, pad: {PAD}}}}}\nsequence: {{state: {{a: b}}}}")
    assert line == "spec.yaml: inputs.input.pad.lengths: a model that keeps state has one; leave them out"


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (
            32,
            "inputs.ids.pad.lengths: words.onnx fixes axis 1 at 32, which is its one length; "
            "export it with that axis dynamic, or leave lengths out",
        ),
        ("batch", "inputs.ids.pad.lengths: at length 4: "),
    ],
)
def test_a_model_that_cannot_take_them_is_refused_when_it_is_deployed(
    tmp_path: Path, length: int | str, told: str
) -> None:
    spec = spec_of(words(tmp_path, length), lengths=LENGTHS if length == 32 else (4, 70))
    if length == "batch":
        spec = replace(spec, inputs=(spec.inputs[0], replace(spec.inputs[1], pad=None, lengths=())))
    with pytest.raises(SpecError) as refused:
        prepare(spec)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def test_a_normalised_model_is_refused(tmp_path: Path) -> None:
    spec = spec_of(normalise(words(tmp_path), shapes=dict.fromkeys(PADS, (1, 32))).save(tmp_path / "done.onnx"))
    with pytest.raises(SpecError, match=r"done\.onnx is normalised, its shapes are fixed; give the model"):
        prepare(spec)


def test_the_shape_need_not_be_given_where_nothing_else_is_free(tmp_path: Path) -> None:
    spec = spec_of(normalised_rows(tmp_path))
    bare = replace(spec, inputs=tuple(replace(entry, shape=None) for entry in spec.inputs))
    assert [one.shape for one in prepare(bare).inputs] == [(1, 32), (1, 32)]


def normalised_rows(folder: Path) -> Path:
    """The model of words for one row."""
    import onnx

    proto = onnx.load(words(folder))
    for entry in proto.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, folder / "one.onnx")
    return folder / "one.onnx"


@given(st.integers(1, 40), st.integers(1, 40))
def test_an_input_is_filled_up_to_the_first_length_that_holds_all(ids: int, mask: int) -> None:
    longest = max(ids, mask)
    place = next((at for at, length in enumerate(LENGTHS) if longest <= length), None)
    feeds = {"ids": np.ones((1, ids), np.int64), "mask": np.ones((1, mask), np.int64)}
    assert bucket(PADS, BOTH, {name: array.shape for name, array in feeds.items()}) == place
    if place is not None:
        found = padded(TAKEN, PADS, feeds, BOTH)
        assert {array.shape for array in found.values()} == {(1, LENGTHS[place])}
        assert (found["ids"].sum(), found["mask"].sum()) == (ids, mask)


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Session]]:
    """One as a stage that takes every length, and as it came."""
    import onnx

    folder = tmp_path_factory.mktemp("lengths")
    onnx.save(transformer(), folder / "model.onnx")
    spec = replace(spec_of(folder / "model.onnx"), pinned=())
    model, store = read_model(spec, prepare(spec).path), Store(folder / "store")
    names = tuple(operator.name for operator in model.graph.operators)
    ragged = attached(model.proto)
    sha = stage_artifact(model, names, model.graph.inputs, model.graph.outputs, store, free_rows=True, ragged=ragged)
    ours, plain = Program.load(store.path(sha)), load_backend("onnxruntime").compile(spec.model)
    yield ours, plain
    ours.close()
    plain.close()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, LENGTHS[-1]), st.integers(1, 3), st.integers(0, 99))
def test_an_answer_is_that_of_the_input_as_it_came(
    transformers: tuple[Session, Session], length: int, rows: int, seed: int
) -> None:
    ours, plain = transformers
    feeds = {name: array % 30 for name, array in text(length, seed, rows).items()}
    filled = padded(TAKEN, PADS, feeds, BOTH)
    assert filled["ids"].shape[1] == min(each for each in LENGTHS if each >= length)
    made, wanted = ours.run(filled)["embedding"], plain.run(feeds)["embedding"]
    np.testing.assert_allclose(made, wanted, rtol=1e-3, atol=1e-4)


def test_stages_of_an_engine_of_fixed_shapes_run_at_the_largest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blueprint = blueprint_of(tmp_path)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    bound = tuple(replace(node, engines=(("onnxruntime", (("io_binding", True),)),)) for node in QUICK.nodes)
    reaches = {name: Reach(node=name, address=name) for name in QUICK.by_name}
    for nodes, takes in ((QUICK.nodes, True), (bound, False)):
        built = build(
            plan, blueprint.model, Store(tmp_path / "store"), deployment="words", epoch=1,
            topology=replace(QUICK, nodes=nodes), reaches=reaches,
        )  # fmt: skip
        assert [one.spec.any_length for one in built.values()] == [takes, takes]
    assert "runs at the largest length: onnxruntime takes fixed shapes" in caplog.text


@pytest.mark.slow
def test_a_router_answers_at_the_shortest_length_that_holds_a_request(
    workers: WorkerSite, router: Router, tmp_path: Path
) -> None:
    blueprint = blueprint_of(tmp_path)
    plain = load_backend("onnxruntime").compile(blueprint.spec.model)

    async def story() -> None:
        routes = await workers.load("words", 1, blueprint=blueprint, batching=Batching(most=4))
        assert (len(routes.stages), routes.rows, routes.lengths) == (2, 4, BOTH)
        await router.switch(routes)
        for length, wanted in ((1, 4), (4, 4), (5, 8), (9, 32), (32, 32)):
            answer = await router.infer("words", text(length, length))
            assert answer.outputs["each"].shape == (1, wanted, 8)
            np.testing.assert_allclose(
                answer.outputs["mean"], plain.run(text(length, length))["mean"], rtol=1e-4, atol=1e-5
            )
        with pytest.raises(BadInput, match="input 'ids' is 33 long along axis 1, its lengths are 4, 8, 32"):
            await router.infer("words", text(33))

    workers.do(story())


@pytest.mark.slow
def test_a_request_of_another_epochs_length_is_filled_up_again(
    workers: WorkerSite, router: Router, tmp_path: Path
) -> None:
    blueprint = blueprint_of(tmp_path)

    async def story() -> None:
        routes = await workers.load("again", 1, blueprint=blueprint)
        feeds = taken(routes, text(3))
        assert feeds["ids"].shape == (1, 4)
        send = Send(request="r", attempt=1, epoch=2, budget_s=1.0)
        for lengths, wanted in ((BOTH, 4), ({}, 32), ({"ids": (6, 32), "mask": (6, 32)}, 6)):
            frame = inputs_frame(replace(routes, epoch=2, lengths=lengths), send, feeds, Sent(origin="o"))
            assert {meta.shape for meta in frame.header.tensors} == {(1, wanted)}

    workers.do(story())


@pytest.mark.slow
def test_a_controller_deploys_all_lengths(shared_client: Client, tmp_path: Path) -> None:
    blueprint = blueprint_of(tmp_path)
    shared_client.deploy(replace(blueprint.spec, batching=Batching(most=4)), profile=blueprint.profile)
    try:
        for length, wanted in ((3, 4), (30, 32)):
            assert shared_client.infer("words", text(length))["each"].shape == (1, wanted, 8)
        with pytest.raises(BadInput, match="its lengths are 4, 8, 32"):
            shared_client.infer("words", text(33))
    finally:
        shared_client.delete("words")
