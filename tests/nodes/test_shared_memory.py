"""Memory shared by two ends: what is placed lies there for as long as anything refers to it, and no longer."""

import gc
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import shared_memory
from nodes.errors import MalformedFrame
from nodes.shared_memory import KEPT_BYTES, POOL_BYTES, SLOTS, VARIABLE, Place, Pool, View, opened

CAPACITY, LARGE = 1 << 20, 100_000
SAID = bytes(range(250)) * (LARGE // 250)
Ends = tuple[Pool, View]


def both(capacity_bytes: int = CAPACITY) -> Ends:
    pool = Pool(capacity_bytes)
    view = opened(pool.offer)
    assert view is not None
    return pool, view


@pytest.fixture
def ends() -> Ends:
    return both()


def placed(pool: Pool, data: bytes = SAID) -> Place:
    place = pool.place([data[:7], memoryview(data)[7:]], len(data))
    assert place is not None
    return place


def memory_files() -> list[str]:
    """Files of such memory that this process has open."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.lexists(link) and "memfd:isthmus" in os.readlink(link)]


def test_what_one_end_places_the_other_reads_where_it_lies(ends: Ends) -> None:
    pool, view = ends
    place = placed(pool)
    data = view.read(place)
    assert data == SAID
    pool._data[place.offset] = 77
    assert data[0] == 77


def test_a_receiver_cannot_write(ends: Ends) -> None:
    data = ends[1].read(placed(ends[0]))
    with pytest.raises(TypeError):
        data[0] = 1  # type: ignore[index]
    assert not np.frombuffer(data, np.uint8).flags.writeable


def test_a_region_is_taken_until_nothing_made_of_it_is_left(ends: Ends) -> None:
    pool, view = ends
    whole = view.read(placed(pool))
    kept = [np.frombuffer(whole[500:1000], np.float32).reshape(5, 25)[1:, ::2].T[3:]]
    del whole
    for make in (np.asarray, lambda array: array[1:].real, memoryview, np.asarray):
        kept = [make(kept[0])]
        gc.collect()
        assert pool.used_bytes >= LARGE
    kept.clear()
    assert pool.used_bytes == 0


def test_pages_that_are_used_no_more_are_given_back_and_can_be_used_again() -> None:
    pool, view = both(POOL_BYTES)
    fd = os.dup(int(pool.offer.split(":")[2]))
    data = bytes(range(256)) * (1 << 12)
    held = [view.read(placed(pool, data)) for _ in range(24)]
    pool.give_back()
    full = os.fstat(fd).st_blocks
    del held[16:]
    pool.give_back()  # what is not used any more was, since the last time
    assert os.fstat(fd).st_blocks == full
    pool.give_back()
    assert (os.fstat(fd).st_blocks - full) * 512 == -8 << 20
    held.append(view.read(placed(pool, data)))
    assert all(each == data for each in held)
    held.clear()
    pool.give_back()
    pool.give_back()
    assert not pool.is_wide
    assert os.fstat(fd).st_blocks * 512 <= KEPT_BYTES + 2 * mmap.PAGESIZE
    os.close(fd)


def test_regions_may_be_let_go_of_in_any_thread(ends: Ends) -> None:
    pool, view = ends
    held = [view.read(placed(pool)) for _ in range(4)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert (pool.used_bytes, view.held_bytes) == (0, 0)


def test_nothing_is_placed_where_there_is_no_room_and_again_once_there_is(ends: Ends) -> None:
    pool, view = ends
    places = [placed(pool) for _ in range(CAPACITY // (LARGE + 64))]
    assert pool.place([SAID], len(SAID)) is None
    view.read(places[3])  # and dropped
    assert pool.place([SAID], len(SAID)) is not None


def test_whoever_keeps_more_than_half_is_given_copies_and_the_pool_goes_on(ends: Ends) -> None:
    pool, view = ends
    kept = [view.read(placed(pool, bytes([number]) * LARGE)) for number in range(200)]
    assert pool.used_bytes <= CAPACITY // 2
    assert all(data[0] == data[-1] == number for number, data in enumerate(kept))


def test_more_regions_than_there_are_marks_wait(ends: Ends) -> None:
    pool, view = ends
    places = [placed(pool, b"x" * 8) for _ in range(SLOTS)]
    assert pool.place([b"x"], 1) is None
    assert view.read(places[-1]) == b"x" * 8
    assert pool.place([b"x"], 1) is not None


@given(st.tuples(*[st.integers(0, 2**64 - 1) | st.integers(-2, 2).map(lambda by: CAPACITY + by)] * 3))
def test_places_outside_are_refused(place: tuple[int, int, int]) -> None:
    offset, nbytes, slot = place
    view = both()[1]
    if offset % 64 == 0 and nbytes > 0 and offset + nbytes <= CAPACITY and slot < SLOTS:
        return
    with pytest.raises(MalformedFrame, match="not within"):
        view.read(Place(*place))


def test_what_was_received_outlives_its_sender(ends: Ends) -> None:
    pool, view = both()
    data = view.read(placed(pool))
    pool.close()
    del pool, view
    gc.collect()
    assert data == SAID


def test_a_forked_child_gives_nothing_back(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, view = ends
    data = view.read(placed(pool))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    del data
    assert pool.used_bytes >= LARGE


def test_no_file_is_left_open_and_none_has_a_name() -> None:
    gc.collect()
    before, named = memory_files(), set(os.listdir("/dev/shm"))
    pool, view = both()
    data = view.read(placed(pool))
    assert len(memory_files()) > len(before)
    assert pool.opened
    assert set(os.listdir("/dev/shm")) == named
    del pool, view, data
    gc.collect()
    assert memory_files() == before


def test_a_sender_cannot_take_away_what_is_read() -> None:
    pool = Pool(CAPACITY)
    _, pid, fd, _ = pool.offer.split(":")
    with open(f"/proc/{pid}/fd/{fd}", "r+b") as file:
        for nbytes in (4096, 1 << 30):
            with pytest.raises(PermissionError):
                file.truncate(nbytes)


@pytest.fixture
def offers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Offers that nobody should take, by what is wrong with them."""
    pool = Pool(CAPACITY)
    layout, pid, fd, nonce = pool.offer.split(":")
    unsealed, file = os.memfd_create("isthmus"), os.open(tmp_path / "memfd:isthmus", os.O_RDWR | os.O_CREAT)
    os.ftruncate(unsealed, CAPACITY)
    os.pwrite(unsealed, bytes.fromhex(nonce), 0)
    yield {
        "nonce": f"{layout}:{pid}:{fd}:{'0' * 32}",
        "layout": f"2:{pid}:{fd}:{nonce}",
        "unsealed": f"{layout}:{pid}:{unsealed}:{nonce}",
        "file": f"{layout}:{pid}:{file}:{nonce}",
        "no process": f"{layout}:{2**22 + 1}:{fd}:{nonce}",
        "no file": f"{layout}:{pid}:99999:{nonce}",
        "elsewhere": f"{layout}:{pid}/../self:{fd}:{nonce}",
        "no hexadecimals": f"{layout}:{pid}:{fd}:{'ü' * 32}",
        "nothing": "",
    }
    os.close(unsealed)
    os.close(file)
    assert not pool.opened


def test_what_is_not_the_peers_own_sealed_memory_is_not_opened(offers: dict[str, str]) -> None:
    assert [name for name, offer in offers.items() if opened(offer) is not None] == []


def test_offers_that_nobody_takes_leave_nothing_open(offers: dict[str, str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for offer in offers.values():
        opened(offer)
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_users_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, other = Pool(CAPACITY), os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert opened(pool.offer) is None


def test_the_switch_keeps_it_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(CAPACITY)
    monkeypatch.setenv(VARIABLE, "0")
    assert opened(pool.offer) is None
    assert not shared_memory.wanted()


def test_what_is_something_else_is_not_even_opened(offers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(os, "open", lambda path, _: tried.append(path) or os.dup(0))
    assert opened(offers["file"]) is None
    assert tried == []
