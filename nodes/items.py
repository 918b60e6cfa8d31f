"""What sensors have put at this node, until requests that mean it have come and gone.

One for a process: a sensor at a node puts its items into the node's worker, and stages there take them out by number.
The oldest go when there are more bytes than may be; whoever put them keeps them too, and puts them again into a worker
that is new.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from nodes.backend import Array
from nodes.errors import ItemGone

STAGE = "@items"  # the stage that a frame with items names, of no deployment
MOST_BYTES = 1 << 28


class Items:
    """Tensors by their item's number and their name; safe from any thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self.nbytes = most_bytes, 0
        self._held: OrderedDict[int, Mapping[str, Array]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, number: int, tensors: Mapping[str, Array]) -> None:
        """Hold an item; what is larger than all that may be held is not. One that is there already is replaced."""
        with self._lock:
            self._put(number, tensors)

    def add(self, number: int, tensor: str, array: Array) -> None:
        """Hold a further tensor of an item, or the item with this one; as `put` otherwise."""
        with self._lock:
            self._put(number, {**self._held.get(number, {}), tensor: array})

    def take(self, number: int, tensor: str) -> Array:
        """A tensor of an item, which stays. ItemGone where it is not, or not any more."""
        with self._lock:
            held = self._held.get(number)
        if held is None:
            raise ItemGone(f"item {number} is not here: it was let go, or its sensor has not put it yet")
        if tensor not in held:
            raise ItemGone(f"item {number} holds {', '.join(held)}, and no {tensor!r}")
        return held[tensor]

    def release(self, number: int) -> None:
        """Let go of an item, if it is there."""
        with self._lock:
            self._drop(number)

    def _put(self, number: int, tensors: Mapping[str, Array]) -> None:
        self._drop(number)
        nbytes = _weight(tensors)
        if nbytes > self._most_bytes:
            return
        self._held[number] = tensors
        self.nbytes += nbytes
        while self.nbytes > self._most_bytes:
            self._drop(next(iter(self._held)))

    def _drop(self, number: int) -> None:
        gone = self._held.pop(number, None)
        self.nbytes -= 0 if gone is None else _weight(gone)


def _weight(tensors: Mapping[str, Array]) -> int:
    return sum(
        sum(len(text) for text in array.reshape(-1).tolist()) if array.dtype.kind == "O" else array.nbytes
        for array in tensors.values()
    )


ITEMS = Items()
