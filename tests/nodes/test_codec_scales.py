"""int8: which values share a scale, by channel, tensor and token."""

import numpy as np
import pytest

from nodes.codec import decode, encode

COUNTS = [  # shape, scales by channel, tensor, token
    ((6,), 6, 1, 1),
    ((5, 6), 6, 1, 5),
    ((2, 5, 6), 5, 1, 10),
    ((2, 5, 6, 7), 5, 1, 84),
    ((2, 5, 6, 7, 3), 5, 1, 252),
]


@pytest.mark.parametrize(("shape", "channel", "tensor", "token"), COUNTS, ids=[str(case[0]) for case in COUNTS])
def test_scales_are_as_many_as_share_none(shape: tuple[int, ...], channel: int, tensor: int, token: int) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    counts = [len(encode(array, codec).scales) // 4 for codec in ("int8", "int8-tensor", "int8-token")]
    assert counts == [channel, tensor, token]


def there_and_back(array: np.ndarray, codec: str) -> np.ndarray:
    from nodes.codec import encode_named

    return decode(*encode_named("x", array, codec))


@pytest.mark.parametrize("shape", [(4, 64), (1, 4, 64)], ids=str)
def test_a_token_with_large_features_does_not_spoil_the_others(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).uniform(0.5, 1, shape).astype(np.float32)
    array[..., 2, :] *= 1000
    spoilt = np.abs(there_and_back(array, "int8-tensor") - array)[..., 0, :].max()
    assert np.abs(there_and_back(array, "int8-token") / array - 1).max() < 0.01 < spoilt


def test_a_feature_maps_token_is_a_place_over_its_channels() -> None:
    array = np.random.default_rng(0).uniform(0.5, 1, (1, 32, 6, 6)).astype(np.float32)
    array[:, :, 3, 4] *= 1000
    assert np.abs(there_and_back(array, "int8-token") / array - 1).max() < 0.01


@pytest.mark.parametrize(("codec", "shape"), [("int8", (2, 20_000)), ("int8-token", (20_000, 2))])
def test_more_scales_than_a_header_takes_go_raw(codec: str, shape: tuple[int, ...]) -> None:
    assert encode(np.ones(shape, np.float32), codec).codec == "raw"


@pytest.mark.parametrize("largest", [1e-45, 1e-38, 3.3e38, np.finfo(np.float32).max])
def test_the_ends_of_floats_come_back_finite_and_near(largest: float) -> None:
    array = np.array([largest, -largest / 2, 0], np.float32)
    found = there_and_back(array, "int8-tensor")
    assert np.abs(found / np.float32(largest) - array / np.float32(largest)).max() < 0.01
