"""Key frames: what is new is kept, what is not is left out, however noisy and however lit."""

from typing import Any

import numpy as np
import pytest

from policies.keyframes import Frame, KeyFrames, KeyTerms

SIDE = (120, 160)


def scene(value: float = 90.0, seed: int = 0, noise: float = 8.0) -> Frame:
    """A slope of grey from left to right with its own noise."""
    drawn = value + np.linspace(0, 60, SIDE[1]) + np.random.default_rng(seed).normal(0, noise, SIDE)
    return np.repeat(drawn.clip(0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def with_car(frame: Frame, left: int, shade: int = 220) -> Frame:
    made = frame.copy()
    made[60:80, left : left + 20] = shade
    return made


def keys_of(frames: list[Frame], step_s: float = 0.2, **terms: Any) -> list[int]:
    keys = KeyFrames(KeyTerms(**terms))
    found = [at for at, frame in enumerate(frames) if keys.is_key(frame, at * step_s)]
    assert (keys.seen, keys.keys) == (len(frames), len(found))
    return found


def test_of_a_scene_that_stands_still_the_first_frame_is_key_and_then_one_every_most_s() -> None:
    assert keys_of([scene(seed=at) for at in range(40)], most_s=4.0) == [0, 20]


def test_something_small_that_comes_and_goes_is_seen() -> None:
    frames = [scene(seed=at) for at in range(30)]
    frames[10:20] = [with_car(frame, 70) for frame in frames[10:20]]
    assert keys_of(frames) == [0, 10, 20]


def test_what_moves_is_compared_with_the_last_key_frame() -> None:
    crept = [with_car(scene(seed=at), 10 + at, shade=160) for at in range(40)]  # a pixel a frame: next to nothing
    found = keys_of(crept)
    assert found[0] == 0
    assert 3 <= len(found) <= 20


def test_light_alone_is_nothing_new() -> None:
    assert keys_of([scene(90 + 2 * at, seed=at) for at in range(30)]) == [0]


def test_two_key_frames_are_never_closer_than_least_s() -> None:
    blinking = [with_car(scene(seed=at), 10 + 40 * (at % 3)) for at in range(30)]
    assert keys_of(blinking, least_s=1.0) == [0, 5, 10, 15, 20, 25]
    assert len(keys_of(blinking)) == 30


def test_grey_frames_are_taken_and_other_sizes_are_a_change_of_their_blocks_alone() -> None:
    keys = KeyFrames()
    grey = scene()[..., 0]
    assert keys.is_key(grey, 0.0)
    assert not keys.is_key(np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1), 0.1)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (np.zeros((4, 4), np.uint8), "a frame of 4 × 4 has no 16 × 12 blocks"),
        (np.zeros((120, 160), np.float32), "not float32"),
        (np.zeros((120, 160, 4), np.uint8), r"not uint8 \(120, 160, 4\)"),
        (np.zeros(50, np.uint8), "not uint8"),
    ],
)
def test_what_is_no_picture_is_refused_and_not_counted(frame: Frame, why: str) -> None:
    keys = KeyFrames()
    with pytest.raises(ValueError, match=why):
        keys.is_key(frame, 0.0)
    assert keys.seen == 0


def test_a_frame_from_before_is_refused() -> None:
    keys = KeyFrames()
    keys.is_key(scene(), 1.0)
    with pytest.raises(ValueError, match=r"a frame of 0\.5 s after one of 1 s"):
        keys.is_key(scene(), 0.5)


@pytest.mark.parametrize("terms", [{"changed": 0.0}, {"rows": 0}, {"least_s": 3.0, "most_s": 2.0}, {"most_s": 0.0}])
def test_terms_that_make_no_sense_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"from 1|least_s"):
        KeyTerms(**terms)
