"""Signed models: what a signature covers, and the line for each thing that can be wrong with it."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from orchestrator.errors import ClusterError, SpecError
from orchestrator.model_file import prepare
from orchestrator.signing import VARIABLE, check_trusted, create_key, sign, verify
from tests.nodes.onnx_models import info, model_of, node, random_weight
from tests.orchestrator.small_site import site, spec_of, two_layers

pytest.importorskip("cryptography")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    create_key(tmp_path / "release.key")
    return tmp_path / "release.key"


def signed(folder: Path, key: Path) -> Path:
    """A model whose weights lie in a file beside it, signed."""
    place = folder / "signed"
    place.mkdir(exist_ok=True)
    weights = [random_weight("w1", 256, 256)]
    model = model_of([node("MatMul", ["x", "w1"], ["y"], "only")], [info("x", 1, 256)], [info("y", 1, 256)], weights)
    onnx.save(model, place / "model.onnx", save_as_external_data=True, location="model.data")
    sign(place / "model.onnx", key)
    return place / "model.onnx"


def told(model: Path, trusted: Path) -> str:
    with pytest.raises(SpecError) as refused:
        verify(model, trusted)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_signed_model_is_taken_wherever_it_lies(tmp_path: Path, key: Path) -> None:
    model = signed(tmp_path, key)
    verify(model, tmp_path / "release.pub")
    verify(model, tmp_path)  # a folder of public keys
    moved = model.parent.rename(tmp_path / "moved")
    verify(moved / "model.onnx", tmp_path)


@pytest.mark.parametrize("changed", ["model.onnx", "model.data"])
def test_a_changed_byte_in_the_model_or_its_weights_is_refused(tmp_path: Path, key: Path, changed: str) -> None:
    model = signed(tmp_path, key)
    if changed == "model.data":
        data = bytearray((model.parent / changed).read_bytes())
        data[100] ^= 1
        (model.parent / changed).write_bytes(data)
    else:
        proto = onnx.load(model, load_external_data=False)
        proto.producer_name = "another"
        onnx.save(proto, model)
    assert f"{model}: is not what was signed: it, its weights or model.onnx.sig changed" in told(model, tmp_path)


def test_weights_inside_bodies_and_attributes_are_covered(tmp_path: Path, key: Path) -> None:
    model = model_of([node("Constant", [], ["y"], "c")], [info("x", 1)], [info("y", 4)], [])
    tensor = numpy_helper.from_array(np.arange(4, dtype=np.float32), "inner")
    (tmp_path / "inner.data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="inner.data")
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("value", tensor))
    path = tmp_path / "constant.onnx"
    path.write_bytes(model.SerializeToString())
    sign(path, key)
    verify(path, tmp_path)
    (tmp_path / "inner.data").write_bytes(bytes(16))
    assert "is not what was signed" in told(path, tmp_path)


def test_each_bad_signature_has_its_line(tmp_path: Path, key: Path) -> None:
    model = signed(tmp_path, key)
    signature = model.with_name("model.onnx.sig")
    good = signature.read_text()
    create_key(tmp_path / "other.key")
    sign(model, tmp_path / "other.key")
    assert "which is not trusted; add its .pub to" in told(model, tmp_path / "release.pub")
    forged = signature.read_text().split("\nsignature ")[1]
    signature.write_text(
        good.split("\nsignature ")[0] + "\nsignature " + forged
    )  # names a trusted key, signed by another
    assert "is not what was signed" in told(model, tmp_path / "release.pub")
    for nonsense in ("", "isthmus model signature 2\nkey a\nsignature b\n", good.split("\nsignature ")[0]):
        signature.write_text(nonsense)
        assert "is no signature made by isthmus sign" in told(model, tmp_path)
    signature.write_bytes(b"\xff\xfe")
    assert "is not signed" in told(model, tmp_path)
    signature.unlink()
    assert "is not signed (model.onnx.sig is not there); isthmus sign model.onnx --key KEY" in told(model, tmp_path)


def test_keys_that_are_none_are_refused(tmp_path: Path, key: Path) -> None:
    model = signed(tmp_path, key)
    (tmp_path / "empty").mkdir()
    assert "holds no public key (*.pub), so no model is trusted" in told(model, tmp_path / "empty")
    assert "No such file" in told(model, tmp_path / "absent.pub")
    (tmp_path / "bad.pub").write_text("nonsense")
    assert "is no public key of Ed25519" in told(model, tmp_path / "bad.pub")
    with pytest.raises(SpecError, match="make one with --create"):
        sign(model, tmp_path / "absent.key")
    with pytest.raises(SpecError, match="is no private key of Ed25519"):
        sign(model, tmp_path / "release.pub")
    with pytest.raises(SpecError, match=r"release\.key is there"):
        create_key(key)


def test_where_keys_are_trusted_nothing_else_is_prepared(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare` is the one way from a spec's model to a cluster: deploy, rollout, run and gateways take it."""
    model = two_layers(tmp_path)
    spec = spec_of(model, site())
    prepare(spec)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(SpecError, match="is not signed"):
        prepare(spec)
    sign(model, key)
    prepare(spec)
    two_layers(tmp_path, hidden=8).replace(model)
    with pytest.raises(SpecError, match="is not what was signed"):
        prepare(spec)


def test_without_the_package_trust_is_not_waived(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = signed(tmp_path, key)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for name in ("cryptography.hazmat.primitives", "cryptography.hazmat.primitives.asymmetric"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ClusterError, match=r"pip install 'isthmus\[security\]'"):
        check_trusted(model)
