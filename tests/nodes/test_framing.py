"""What a frame's bytes promise: round trips, alignment, no copies, and every malformed form refused by name."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import framing
from nodes.codec import pack, unpack
from nodes.errors import MalformedFrame
from nodes.framing import VERSION, Carried, Fault, Frame, Header, HopTiming, Kind, TensorMeta, decode, encode
from nodes.parts import Assembler, split

FULL = Header(
    kind=Kind.ERROR,
    deployment="d",
    epoch=3,
    stage="s",
    request="r",
    attempt=2,
    sequence="q",
    position=4,
    last=False,
    budget_s=1.5,
    trace="t",
    origin="o",
    timings=(HopTiming("s", 0.1, 0.2, 0.3, 0.4, "1.2+wire9"),),
    fault=Fault("BadInput", "x is missing", True),
)


def arrays() -> dict[str, np.ndarray]:
    return {"a": np.arange(5, dtype=np.float32), "b": np.array(7, np.int64), "c": np.zeros((2, 0, 3), np.uint8)}


def raw_frame(header: dict[str, object], payload: bytes = b"") -> bytes:
    packed: bytes = msgpack.packb(header)
    return len(packed).to_bytes(4, "little") + packed + payload


def test_every_field_of_a_header_survives() -> None:
    assert decode(encode(Frame(FULL))).header == FULL


def test_what_a_connection_carries_replaces_what_came_with_the_frame() -> None:
    stale = Frame(Header(number=9, acks=((1, 0.5),), credit_bytes=8))
    header = decode(encode(stale, Carried(4, ((3, 0.25),), 16))).header
    assert (header.number, header.acks, header.credit_bytes) == (4, ((3, 0.25),), 16)


def test_headers_alike_differ_in_what_differs() -> None:
    for number, request in enumerate(("first", "second", "third"), 1):
        header = Header(stage="alike", request=request, budget_s=number / 2)
        found = decode(encode(pack(header, arrays(), {}), Carried(number, ((number, 0.5),), 16))).header
        assert (found.stage, found.request, found.budget_s, found.number) == ("alike", request, number / 2, number)
        assert [meta.name for meta in found.tensors] == ["a", "b", "c"]


def test_a_field_of_the_wrong_type_is_refused_though_the_rest_was_seen_before() -> None:
    data = encode(Frame(Header(stage="seen", request="r")), Carried(5))
    assert decode(data).header.number == 5
    with pytest.raises(MalformedFrame, match="number"):
        decode(data.replace(b"\xa1n\x05", b"\xa1n\xc3"))


def test_keys_may_come_in_any_order() -> None:
    fields = {"v": VERSION, "k": 1, "s": "s", "r": "r", "n": 3, "b": 1.5, "c": [[2, 0.5]], "g": 4}
    found = [decode(raw_frame(dict(order))).header for order in (fields.items(), reversed(fields.items()))]
    assert (
        found[0] == found[1] == Header(stage="s", request="r", number=3, budget_s=1.5, acks=((2, 0.5),), credit_bytes=4)
    )


def test_tensors_survive_under_their_names() -> None:
    found = unpack(decode(encode(pack(Header(request="r"), arrays(), {}))))
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@given(name=st.text(max_size=40), sizes=st.lists(st.integers(0, 70), max_size=5))
def test_payload_and_each_tensor_start_on_16_byte_boundaries(name: str, sizes: list[int]) -> None:
    tensors = {str(i): np.full(size, i, np.uint8) for i, size in enumerate(sizes)}
    data = encode(pack(Header(request=name), tensors, {}))
    start = np.frombuffer(data, np.uint8).ctypes.data
    for buffer in decode(data).buffers:
        if len(buffer):
            assert (np.frombuffer(buffer, np.uint8).ctypes.data - start) % 16 == 0


def test_decoding_allocates_nothing_the_size_of_the_tensor() -> None:
    data = encode(pack(Header(), {"x": np.zeros(1_000_000, np.uint8)}, {}))
    tracemalloc.start()
    found = unpack(decode(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["x"].nbytes == 1_000_000
    assert peak < 50_000


def test_encoding_writes_each_payload_once() -> None:
    frame = pack(Header(), {"x": np.zeros(1_000_000, np.uint8)}, {})
    tracemalloc.start()
    data = encode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(data) + 50_000


def test_unknown_header_keys_are_ignored() -> None:
    assert decode(raw_frame({"v": VERSION, "k": 7, "zz": [1, 2]})).header == Header(kind=Kind.PING)


@pytest.mark.parametrize("version", framing.SPOKEN)
def test_this_version_and_the_one_before_are_understood(version: int) -> None:
    assert decode(raw_frame({"v": version, "k": 7})).header.version == version


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x01", "shorter than its length"),
        (b"\xff\xff\xff\xff" + bytes(8), "header of 4294967295 bytes"),
        (raw_frame({"v": 3, "k": 1}), "protocol version 3"),
        (raw_frame({"v": 1}), "'k'"),
        (raw_frame({"v": 1, "k": 99}), "kind 99"),
        (raw_frame({"v": 1, "k": 1, "e": "one"}), r"'e' \(epoch\)"),
        (raw_frame({"v": 1, "k": 1, "e": -1}), "below 0"),
        (raw_frame({"v": 1, "k": 4, "x": []}), "not enough values"),
        (raw_frame({"v": 1, "k": 2, "j": [1, 2, 2, 9]}), "part 2 of 2"),
        (raw_frame({"v": 1, "k": 1, "t": [["x"]]}), "arguments"),
        (raw_frame({"v": 1, "k": 1, "t": [["x", "uint8", [9], "raw", b"", 9]]}), "'x' ends at byte"),
        (raw_frame({"v": 1, "k": 1, "t": [["x", "uint8", [9], "raw", b"", -9]]}), "'x' is not"),
        (raw_frame({"v": 1, "k": 1}, b"surplus"), "its tensors end at"),
        (b"\x01\x00\x00\x00\xc1", "not msgpack"),
        (raw_frame({"v": 1, "k": 3, "c": [[float("inf"), 0.1]]}), "infinity"),
        (raw_frame({"v": 1, "k": 3, "c": [[1, float("nan")]]}), "no number of seconds"),
        (raw_frame({"v": 1, "k": 2, "j": [1, 0, float("inf"), 9]}), "infinity"),
        (raw_frame({"v": 1, "k": 1, "b": float("nan")}), "is NaN"),
        (raw_frame({"v": 1, "k": 1, "r": "r" * 1025}), "longer than 1024"),
        (raw_frame({"v": 1, "k": 1, "t": [["x", "uint8", ["9"], "raw", b"", 0]]}), "'x': the shape"),
        (raw_frame({"v": 1, "k": 1, "t": [["x", "uint8", [-1], "raw", b"", 0]]}), "'x': the shape"),
        (raw_frame({"v": 1, "k": 1, "t": [["x", "uint8" * 999, [0], "raw", b"", 0]]}), "longer than 1024"),
    ],
)
def test_malformed_frames_are_refused_by_name(data: bytes, fault: str) -> None:
    with pytest.raises(MalformedFrame, match=fault):
        decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_malformed_frame(data: bytes) -> None:
    try:
        decode(data)
    except MalformedFrame:
        return


@given(cut=st.integers(4, 300), flip=st.integers(4, 150), value=st.integers(0, 255))
def test_a_damaged_frame_does_no_worse_than_malformed_frame(cut: int, flip: int, value: int) -> None:
    data = bytearray(encode(pack(FULL._replace(kind=Kind.TENSORS), arrays(), {})))
    data[flip % len(data)] = value
    try:
        unpack(decode(bytes(data[:cut])))
    except MalformedFrame:
        return


def test_a_frame_whose_buffers_contradict_its_metas_is_not_sent() -> None:
    with pytest.raises(MalformedFrame, match="buffers of"):
        encode(Frame(Header(tensors=(TensorMeta("x", "uint8", (4,), nbytes=4),)), (b"123",)))


@pytest.mark.parametrize("part_bytes", [1, 16, 100, 10_000])
def test_parts_join_to_the_frame_they_were_cut_from(part_bytes: int) -> None:
    frame = pack(FULL._replace(kind=Kind.TENSORS), arrays(), {})
    assembler = Assembler()
    joined = [assembler.add(decode(encode(part))) for part in split(frame, 5, part_bytes)]
    assert joined[:-1] == [None] * (len(joined) - 1)
    assert joined[-1] is not None
    assert joined[-1].header.number == 5
    assert np.array_equal(unpack(joined[-1])["a"], arrays()["a"])


def test_messages_in_parts_may_interleave() -> None:
    assembler = Assembler()
    first, second = (list(split(pack(Header(request=name), arrays(), {}), i, 40)) for i, name in enumerate("ab"))
    joined = [assembler.add(part) for both in zip(first, second, strict=True) for part in both]
    assert [frame.header.request for frame in joined if frame] == ["a", "b"]


@pytest.mark.parametrize(("key", "value", "fault"), [("r", "r" * 1025, "longer"), ("b", float("nan"), "is NaN")])
def test_what_differs_is_checked_though_the_rest_was_seen_before(key: str, value: object, fault: str) -> None:
    fields = {"v": VERSION, "k": 1, "s": "seen-before", "r": "r", "b": None, "n": 1, "c": [], "g": 0, "_": b""}
    begin = msgpack.packb({"v": VERSION, "k": 1, "s": "seen-before"})[1:]
    differing = [msgpack.packb({name: fields[name]})[1:] for name in "rbncg_"]
    changed = [msgpack.packb({name: (fields | {key: value})[name]})[1:] for name in "rbncg_"]
    good, bad = (b"\xde\x00\x09" + begin + b"".join(tail) for tail in (differing, changed))
    assert decode(len(good).to_bytes(4, "little") + good).header.number == 1
    with pytest.raises(MalformedFrame, match=fault):
        decode(len(bad).to_bytes(4, "little") + bad)


def test_a_promise_of_a_large_message_takes_no_memory() -> None:
    assembler = Assembler()
    tracemalloc.start()
    for message in range(60):
        assembler.add(Frame(Header(kind=Kind.PART, part=framing.PartOf(message, 0, 9, 1 << 30)), (b"x",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_open_messages_hold_no_more_together_than_one_may() -> None:
    assembler = Assembler(max_message_bytes=700)
    begun = [
        Frame(Header(kind=Kind.PART, part=framing.PartOf(message, 0, 2, 600)), (bytes(300),)) for message in range(3)
    ]
    assert [assembler.add(part) for part in begun[:2]] == [None, None]
    with pytest.raises(MalformedFrame, match="more than 700 bytes together"):
        assembler.add(begun[2])


def test_a_message_over_the_limit_is_refused_once_and_harms_no_other() -> None:
    large, small = (list(split(pack(Header(), {"x": np.zeros(size, np.uint8)}, {}), size, 100)) for size in (900, 300))
    assembler = Assembler(max_message_bytes=700)
    with pytest.raises(MalformedFrame, match="over the limit of 700"):
        assembler.add(large[0])
    assert [assembler.add(part) for part in large[1:]] == [None] * (len(large) - 1)
    assert [assembler.add(part) for part in small][-1] is not None


def test_a_missing_part_is_refused() -> None:
    parts = list(split(pack(Header(), {"x": np.zeros(900, np.uint8)}, {}), 1, 100))
    assembler = Assembler()
    assembler.add(parts[0])
    with pytest.raises(MalformedFrame, match="part 2 of"):
        assembler.add(parts[2])


def test_too_many_messages_in_parts_are_refused() -> None:
    assembler = Assembler(max_open_messages=2)
    begun = [next(iter(split(pack(Header(), {"x": np.zeros(900, np.uint8)}, {}), i, 100))) for i in range(3)]
    assembler.add(begun[0])
    assembler.add(begun[1])
    with pytest.raises(MalformedFrame, match="2 messages are open"):
        assembler.add(begun[2])
