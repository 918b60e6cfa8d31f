"""The cache of compiled models: whole or absent, made once, checked at each use, bounded."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest

from nodes.cache import LISTING, Cache, CacheKey, model_digest
from nodes.errors import CompileError


def key(name: str = "a", **options: int) -> CacheKey:
    return CacheKey(model=name, engine="engine 1.0", target="cpu", options=options)


def writing(text: str, calls: list[str] | None = None, name: str = "lib.so"):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        if calls is not None:
            calls.append(text)
        (folder / name).write_text(text)

    return make


def refusing(folder: Path) -> None:
    (folder / "half").write_text("half an entry")
    raise CompileError("no such operator")


def test_an_entry_is_made_once_and_found_again(tmp_path: Path) -> None:
    made: list[str] = []
    for _ in range(2):
        with Cache(tmp_path).entry(key(), writing("code", made)) as folder:
            assert (folder / "lib.so").read_text() == "code"
    assert made == ["code"]


@pytest.mark.parametrize(
    "other",
    [
        CacheKey(model="b", engine="engine 1.0", target="cpu"),
        CacheKey(model="a", engine="engine 1.1", target="cpu"),
        CacheKey(model="a", engine="engine 1.0", target="cortex-a72"),
        CacheKey(model="a", engine="engine 1.0", target="cpu", options={"threads": 2}),
    ],
)
def test_whatever_an_entry_depends_on_makes_another_entry(tmp_path: Path, other: CacheKey) -> None:
    cache = Cache(tmp_path)
    with cache.entry(key(), writing("one")) as first, cache.entry(other, writing("two")) as second:
        assert first != second and (second / "lib.so").read_text() == "two"


@pytest.mark.parametrize("spoil", ["changed", "absent", "unlisted"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path)
    with cache.entry(key(), writing("code")) as folder:
        file = folder / (LISTING if spoil == "unlisted" else "lib.so")
        file.write_text("c0de") if spoil == "changed" else file.unlink()
    with cache.entry(key(), writing("code again")) as folder:
        assert (folder / "lib.so").read_text() == "code again"
    assert "damaged" in caplog.text


def test_what_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(CompileError, match="no such operator"), cache.entry(key(), refusing):
        pass
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    with cache.entry(key(), writing("now it works")) as folder:
        assert (folder / "lib.so").exists()


def test_many_threads_that_want_one_entry_make_it_once(tmp_path: Path) -> None:
    made: list[str] = []
    together = Barrier(8)

    def want() -> None:
        together.wait()
        with Cache(tmp_path).entry(key(), writing("code", made)) as folder:
            assert (folder / "lib.so").read_text() == "code"

    threads = [Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["code"]


PROCESS = """
import sys
from pathlib import Path
from nodes.cache import Cache, CacheKey
def make(folder):
    (folder / "lib.so").write_text("code")
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
with Cache(Path(sys.argv[1])).entry(CacheKey(model="a", engine="e", target="t"), make) as folder:
    assert (folder / "lib.so").read_text() == "code"
"""


@pytest.mark.slow
def test_many_processes_that_want_one_entry_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache"), str(log)]
    running = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": "."}) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert log.read_text() == "made\n"


def test_the_entries_longest_unused_go_when_the_bound_is_passed(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=2_700)
    for number, name in enumerate("abc"):
        with cache.entry(key(name), writing(name * 800)) as folder:
            pass
        os.utime(folder, (number, number))
    with cache.entry(key("a"), writing("made again")):
        pass  # used: now b is the oldest
    with cache.entry(key("d"), writing("d" * 800)):
        pass
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {key(name).digest for name in "acd"}
    assert cache.size_bytes() <= 2_700


def test_an_entry_in_use_is_not_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=10)
    with cache.entry(key("a"), writing("a" * 100)) as held:
        with cache.entry(key("b"), writing("b" * 100)):
            pass
        assert (held / "lib.so").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompileError, match="file/cache"), Cache(tmp_path / "file" / "cache").entry(key(), writing("x")):
        pass


def test_a_models_digest_is_the_same_from_a_file_and_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    assert model_digest(path) == model_digest(b"graph") != model_digest(b"graft")
