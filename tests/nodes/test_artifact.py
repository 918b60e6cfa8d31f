"""Artifacts: what is hashed is what runs."""

import json
from pathlib import Path

import pytest

from nodes import artifact
from nodes.artifact import FunctionStep, ModelStep
from nodes.backend import TensorSpec
from nodes.errors import ArtifactError
from nodes.store import Store

PHOTO = TensorSpec("photo", "uint8", (None,))
LOGITS = TensorSpec("logits", "float32", (1, 1000))
STEPS = (
    FunctionStep(function="resize", inputs=("photo",), outputs=("frame",), params={"size": [4, 4], "crop": 0.875}),
    ModelStep(onnx="model-0.onnx", inputs=("frame",), outputs=("logits",)),
)


def written(folder: Path, content: bytes = b"weights") -> str:
    folder.mkdir()
    (folder / "model-0.onnx").write_bytes(content)
    return artifact.write(folder, steps=STEPS, inputs=[PHOTO], outputs=[LOGITS])


def send(source: Path, store: Store, sha: str, *, chunk_bytes: int = 3) -> None:
    with store.receive(sha) as incoming:
        for path in source.iterdir():
            data = path.read_bytes()
            for at in range(0, len(data), chunk_bytes):
                incoming.write(path.name, data[at : at + chunk_bytes])
        incoming.commit()


def left_behind(store: Store) -> list[str]:
    return [path.name for path in store.root.iterdir()]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written(tmp_path / "a")
    manifest = artifact.read(tmp_path / "a")
    assert (manifest.steps, manifest.inputs, manifest.outputs) == (STEPS, (PHOTO,), (LOGITS,))
    assert manifest.nbytes == len(b"weights")


def test_equal_contents_have_equal_ids_and_others_do_not(tmp_path: Path) -> None:
    first, again, other = written(tmp_path / "a"), written(tmp_path / "b"), written(tmp_path / "c", b"other")
    assert first == again != other


@pytest.mark.parametrize(("content", "fault"), [(b"Weights", "SHA-256"), (b"weight", "6 bytes, not 7")])
def test_a_changed_file_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    sha = written(tmp_path / "a")
    (tmp_path / "a" / "model-0.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"model-0\.onnx.*{fault}"):
        artifact.verify(tmp_path / "a", sha)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    sha = written(tmp_path / "a")
    (tmp_path / "a" / "model-0.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model-0\.onnx is missing"):
        artifact.verify(tmp_path / "a", sha)


def test_another_manifest_is_not_the_artifact(tmp_path: Path) -> None:
    written(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"manifest\.json has SHA-256"):
        artifact.verify(tmp_path / "a", "0" * 64)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "", "a\\b"])
def test_a_file_name_never_leaves_the_folder(name: str) -> None:
    document = {"steps": [], "inputs": [], "outputs": [], "files": {name: {"sha256": "0" * 64, "nbytes": 1}}}
    with pytest.raises(ArtifactError, match="not plain"):
        artifact.parse(json.dumps(document).encode())


@pytest.mark.parametrize("encoded", [b"", b"{}", b"[1]", b'{"steps": [{}], "inputs": [], "outputs": [], "files": {}}'])
def test_a_malformed_manifest_is_one_line(encoded: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json is malformed"):
        artifact.parse(encoded)


def test_a_step_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"runs model-0\.onnx, which is not in the folder"):
        artifact.write(tmp_path, steps=STEPS, inputs=[PHOTO], outputs=[LOGITS])


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no"):
        artifact.read(tmp_path)


def test_an_artifact_sent_in_chunks_arrives_whole(tmp_path: Path) -> None:
    sha, store = written(tmp_path / "a"), Store(tmp_path / "store")
    send(tmp_path / "a", store, sha)
    assert store.has(sha)
    assert artifact.verify(store.path(sha), sha).steps == STEPS
    assert left_behind(store) == [sha]


def test_an_artifact_that_stops_half_way_leaves_no_trace(tmp_path: Path) -> None:
    sha, store = written(tmp_path / "a"), Store(tmp_path / "store")
    with store.receive(sha) as incoming:
        incoming.write("model-0.onnx", b"wei")
    assert not store.has(sha)
    assert left_behind(store) == []


def test_an_artifact_that_is_not_its_hash_is_refused_and_gone(tmp_path: Path) -> None:
    sha, store = written(tmp_path / "a"), Store(tmp_path / "store")
    (tmp_path / "a" / "model-0.onnx").write_bytes(b"Weights")
    with pytest.raises(ArtifactError, match=r"model-0\.onnx"):
        send(tmp_path / "a", store, sha)
    assert left_behind(store) == []


def test_a_file_that_the_manifest_does_not_know_is_refused(tmp_path: Path) -> None:
    sha, store = written(tmp_path / "a"), Store(tmp_path / "store")
    (tmp_path / "a" / "extra.so").write_bytes(b"!")
    with pytest.raises(ArtifactError, match=r"extra\.so is not in the manifest"):
        send(tmp_path / "a", store, sha)


def test_receiving_twice_at_once_ends_with_one(tmp_path: Path) -> None:
    sha, store = written(tmp_path / "a"), Store(tmp_path / "store")
    with store.receive(sha) as slow:
        for path in (tmp_path / "a").iterdir():
            slow.write(path.name, path.read_bytes())
        assert store.add(tmp_path / "a") == sha
        assert slow.commit() == store.path(sha)
    assert left_behind(store) == [sha]


def test_a_chunk_cannot_be_written_elsewhere(tmp_path: Path) -> None:
    with Store(tmp_path / "store").receive("0" * 64) as incoming, pytest.raises(ArtifactError, match="not plain"):
        incoming.write("../outside", b"x")


@pytest.mark.parametrize("sha", ["", "..", "A" * 64, "0" * 63])
def test_what_is_no_hash_names_no_artifact(tmp_path: Path, sha: str) -> None:
    with pytest.raises(ArtifactError, match="64 hexadecimal digits"):
        Store(tmp_path).has(sha)


def test_an_artifact_that_was_never_sent_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="send it first"):
        Store(tmp_path).path("0" * 64)


def test_a_removed_artifact_is_gone(tmp_path: Path) -> None:
    written(tmp_path / "a")
    store = Store(tmp_path / "store")
    store.remove(sha := store.add(tmp_path / "a"))
    assert not store.has(sha)
