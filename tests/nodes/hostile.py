"""Frames that no honest peer writes: what a worker must take without harm. The same seed makes the same frames."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np

from nodes.codec import CODECS, pack
from nodes.framing import VERSION, Carried, Frame, Header, Kind, encode
from nodes.parts import split

INF, NAN = float("inf"), float("nan")
NUMBERS = (0, -1, 1, 7, 255, 1 << 31, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1, 0.5, -0.0, INF, -INF, NAN)
ODD = (*NUMBERS, None, True, "", "x", "9" * 5000, b"", b"\xff" * 9, [], [[]], {}, {"a": 1}, [1, [2, [3]]])
KEYS = (*"vkdesraqplbtiomxjwyncg_", "zz")
TENSOR_KEYS = 6
Made = Callable[[random.Random], bytes]


def framed(fields: Any, payload: bytes = b"") -> bytes:
    """A frame of any header."""
    packed: bytes = msgpack.packb(fields)
    return len(packed).to_bytes(4, "little") + packed + payload


def request(luck: random.Random, **more: Any) -> Header:
    """A header as a router would write it for deployment d, stage s1, epoch 1; `r` is never used twice."""
    name = f"bad-{luck.getrandbits(64):x}"
    about = {"deployment": "d", "epoch": 1, "stage": "s1", "request": name, "origin": "router"} | more
    return Header(**about)


def good(luck: random.Random, **more: Any) -> bytes:
    """A frame with nothing wrong in it, that the stage would answer."""
    return encode(pack(request(luck, **more), {"x": np.ones((1, 4), np.float32)}, {}), Carried(luck.randrange(1 << 20)))


def noise(luck: random.Random) -> bytes:
    """Random bytes."""
    return luck.randbytes(luck.randrange(200))


def truncated(luck: random.Random) -> bytes:
    """A good frame that ends early."""
    data = good(luck)
    return data[: luck.randrange(len(data))]


def flipped(luck: random.Random) -> bytes:
    """A good frame with a few bits the other way."""
    data = bytearray(good(luck))
    for _ in range(luck.randint(1, 4)):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
    return bytes(data)


def hostile_length(luck: random.Random) -> bytes:
    """A length field that is not the header's."""
    data = good(luck)
    return luck.choice((0, 1, len(data), 1 << 20, (1 << 31) - 1, (1 << 32) - 1)).to_bytes(4, "little") + data[4:]


def odd_field(luck: random.Random) -> bytes:
    """One key, or two, of another type or size."""
    fields: dict[str, Any] = {"v": VERSION, "k": luck.randint(1, 7), "d": "d", "e": 1, "s": "s1"}
    fields |= {"r": f"bad-{luck.getrandbits(64):x}", "o": "router"}
    for _ in range(luck.randint(1, 2)):
        fields[luck.choice(KEYS)] = luck.choice(ODD)
    return framed(fields)


def odd_tensor(luck: random.Random) -> bytes:
    """A tensor whose shape, dtype, codec, scales or size can't be."""
    shape = [luck.choice(NUMBERS) if luck.random() < 0.5 else luck.randrange(9) for _ in range(luck.randrange(5))]
    dtype = luck.choice(("float32", "uint8", "bool", "bfloat16", "object", "", "<f4"))
    codec = luck.choice((*CODECS, "lzma", "raw+raw"))
    nbytes = luck.choice((0, 16, 16, 16, 17, -1, 1 << 40))
    meta: list[Any] = ["x", dtype, shape, codec, luck.randbytes(luck.choice((0, 4, 8, 32))), nbytes]
    if luck.random() < 0.2:
        meta[luck.randrange(TENSOR_KEYS)] = luck.choice(ODD)
    fields = {"v": VERSION, "k": 1, "d": "d", "e": 1, "s": "s1", "r": f"bad-{luck.getrandbits(64):x}", "o": "router"}
    return framed(fields | {"t": [meta]}, luck.randbytes(16))


def unknown_place(luck: random.Random) -> bytes:
    """A sound frame for a deployment, an epoch or a stage that nobody holds."""
    return good(luck, **luck.choice(({"epoch": luck.randrange(2, 1 << 40)}, {"stage": "s9"}, {"deployment": "e"})))


def endless_part(luck: random.Random) -> bytes:
    """Parts of messages that never end, contradict each other, or promise more than there can be."""
    parts = luck.choice((1, 2, 3, 1 << 62))
    place = luck.choice((0, 0, 0, 1, parts - 1))
    nbytes = luck.choice((0, 1, 64, 1 << 20, 1 << 30, 1 << 31, 1 << 62))
    told = [luck.choice((luck.randrange(100), luck.getrandbits(63))), place, parts, nbytes]
    fields = {"v": VERSION, "k": 2, "r": f"bad-{luck.getrandbits(64):x}", "o": "router", "j": told}
    return framed(fields, luck.randbytes(luck.randrange(64)))


def joined_rubbish(luck: random.Random) -> bytes:
    """The first of two parts, which is all that comes."""
    frame = pack(request(luck), {"x": np.ones((1, 4), np.float32)}, {})
    return encode(next(split(frame, luck.getrandbits(62), 64)))


def odd_acks(luck: random.Random) -> bytes:
    """Acknowledgements, credits and numbers of what was never sent."""
    acks = [[luck.choice(NUMBERS), luck.choice(NUMBERS)] for _ in range(luck.randrange(4))]
    fields = {"v": VERSION, "k": luck.choice((3, 6, 7)), "c": acks}
    return framed(fields | {"g": luck.choice(NUMBERS), "n": luck.choice((*NUMBERS, 3))})


def odd_budget(luck: random.Random) -> bytes:
    """A request for another stage's tensors, with a budget, a priority or a way that makes no sense."""
    fields: dict[str, Any] = {"v": VERSION, "k": luck.choice((1, 5)), "d": "d", "e": 1, "s": "s1", "o": "router"}
    fields |= {"r": f"bad-{luck.getrandbits(64):x}", "b": luck.choice(NUMBERS), "y": luck.choice(NUMBERS)}
    return framed(fields | {"w": luck.choice(ODD), "t": []})


def wrong_version(luck: random.Random) -> bytes:
    """A version that nobody speaks."""
    return framed({"v": luck.choice((0, 3, 9, -1, 1 << 63, "2", 2.0, None)), "k": 1, "r": "bad"})


def long_name(luck: random.Random) -> bytes:
    """Names as long as a header may be, now and then; else just too long."""
    length = 900_000 if luck.random() < 0.001 else 1100
    name = f"{luck.getrandbits(64):x}" * (length // 16)
    fields = {"v": VERSION, "k": luck.choice((1, 5)), "d": "d", "e": 1, "s": "s1", "r": "bad", "o": "router"}
    return framed(fields | {luck.choice("rsqdio"): name})


KINDS: tuple[Made, ...] = (
    noise, truncated, flipped, hostile_length, odd_field, odd_tensor, unknown_place, endless_part, joined_rubbish,
    odd_acks, odd_budget, wrong_version, long_name,
)  # fmt: skip


def frames(many: int, seed: int) -> Iterator[bytes]:
    """So many, of all kinds in turn."""
    luck = random.Random(seed)
    for number in range(many):
        yield KINDS[number % len(KINDS)](luck)


def cancel(name: str) -> Frame:
    """A cancel of that request."""
    return Frame(Header(kind=Kind.CANCEL, deployment="d", epoch=1, stage="s1", request=name))
