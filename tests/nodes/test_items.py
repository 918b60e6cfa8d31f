"""What a node holds for requests that mean it: by number, within its bytes, the oldest going first."""

import numpy as np
import pytest

from nodes.errors import BadInput, ItemGone
from nodes.functions import function
from nodes.items import ITEMS, Items

PICTURE = {"dtype": "uint8", "shape": [-1], "tensor": "photo"}


def bytes_of(count: int) -> dict[str, np.ndarray]:
    return {"photo": np.zeros(count, np.uint8)}


def test_an_item_is_there_until_it_is_released() -> None:
    items = Items()
    items.put(7, bytes_of(3))
    assert items.take(7, "photo").size == items.take(7, "photo").size == 3
    with pytest.raises(ItemGone, match="item 7 holds photo, and no 'sound'"):
        items.take(7, "sound")
    items.release(7)
    items.release(7)
    with pytest.raises(ItemGone, match="item 7 is not here"):
        items.take(7, "photo")
    assert items.nbytes == 0


def test_the_oldest_go_when_there_is_too_much_and_what_never_fits_is_not_held() -> None:
    items = Items(most_bytes=10)
    for number in (1, 2, 3):
        items.put(number, bytes_of(4))
    items.put(4, bytes_of(11))
    items.put(2, bytes_of(5))  # again
    assert (len(items), items.nbytes) == (2, 9)
    for gone in (1, 4):
        with pytest.raises(ItemGone):
            items.take(gone, "photo")
    items.put(5, {"said": np.array(["hello", "you"], object)})
    assert (len(items), items.nbytes) == (1, 8)  # text counts by its letters


def test_a_function_gives_what_is_held_if_it_fits() -> None:
    held = function("held")
    assert held.infer(PICTURE, (1,)) == (("uint8", (None,)),)
    assert held.infer({"dtype": "float32", "tensor": "x"}, (1,)) == (("float32", ()),)
    ITEMS.put(9, bytes_of(3) | {"sound": np.zeros((1, 2), np.float32)})
    try:
        (photo,) = held.run(PICTURE, np.array([9]))
        assert photo.shape == (3,)
        with pytest.raises(BadInput, match=r"photo was put as uint8 \[3\], wants float32 \[4\]"):
            held.run({"dtype": "float32", "shape": [4], "tensor": "photo"}, np.array([9]))
    finally:
        ITEMS.release(9)
    with pytest.raises(ItemGone):
        held.run(PICTURE, np.array([9]))


def test_a_pipeline_keeps_tensors_that_another_recalls_and_each_keeps_its_own() -> None:
    kept, value = function("keep"), np.arange(6, dtype=np.float32).reshape(2, 3)
    number = np.array([99])
    (told,) = kept.run({"tensor": "keys"}, number, value)
    kept.run({"tensor": "values"}, number, np.ones(4, np.int64))
    assert told.tolist() == [99]
    value[:] = 0  # what is held is a copy
    (keys,) = function("recall").run({"tensor": "keys", "dtype": "float32", "shape": [2, 3]}, number)
    (values,) = function("recall").run({"tensor": "values", "dtype": "int64", "shape": [-1]}, number)
    assert (keys.tolist(), values.tolist()) == ([[0, 1, 2], [3, 4, 5]], [1, 1, 1, 1])
    kept.run({"tensor": "keys"}, number, np.zeros((2, 3), np.float32))  # again, as after a worker that died
    (keys,) = function("recall").run({"tensor": "keys", "dtype": "float32", "shape": [2, 3]}, number)
    assert not keys.any()
    ITEMS.release(99)
    with pytest.raises(ItemGone, match="item 99 is not here"):
        function("recall").run({"tensor": "keys", "dtype": "float32", "shape": [2, 3]}, number)


def test_number_0_is_no_item_s_so_that_stages_can_be_measured_with_it() -> None:
    about = {"tensor": "keys", "dtype": "float32", "shape": [2, -1]}
    function("keep").run({"tensor": "keys"}, np.zeros(1, np.int64), np.ones((2, 3), np.float32))
    (value,) = function("recall").run(about, np.zeros(1, np.int64))
    assert (value.dtype, value.tolist()) == (np.float32, [[0], [0]])
    with pytest.raises(ItemGone, match="item 0 is not here"):
        function("held").run(about, np.zeros(1, np.int64))
