"""Which frames of a video are worth a request: those that show something that the last key frame did not.

Frame differencing by blocks, as video surveillance does it: each block's mean brightness is compared with the last key
frame's, not with the last frame's, so that slow changes add up. What all blocks have in common is light or the camera's
exposure, and does not count; noise is gone in a block's mean.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

Frame = NDArray[np.uint8]  # [height, width] grey, or [height, width, 3] red, green, blue


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """`changed`: by so much of full scale a block must differ; `rows`, `columns`: how many blocks there are.

    `least_s`: no two key frames are closer; `most_s`: one comes so often even if nothing changes.
    """

    changed: float = 0.04
    rows: int = 12
    columns: int = 16
    least_s: float = 0.0
    most_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.changed < 1 or self.rows < 1 or self.columns < 1:
            raise ValueError("0 < changed < 1, rows and columns from 1")
        if not 0 <= self.least_s <= self.most_s or self.most_s <= 0:
            raise ValueError("0 ≤ least_s ≤ most_s, and most_s above 0")


@dataclass(slots=True)
class KeyFrames:
    """One camera's video so far: how many frames were `seen`, and how many of them were `keys`."""

    terms: KeyTerms = field(default_factory=KeyTerms)
    seen: int = 0
    keys: int = 0
    _last: NDArray[np.float64] | None = None  # the last key frame's blocks
    _key_s: float = -np.inf
    _last_s: float = -np.inf

    def is_key(self, frame: Frame, captured_s: float) -> bool:
        """Whether this frame, the next of the video, is one. ValueError for one that is no picture, or came before."""
        if captured_s < self._last_s:
            raise ValueError(f"a frame of {captured_s:g} s after one of {self._last_s:g} s")
        blocks = self._blocks(frame)
        self._last_s = captured_s
        self.seen += 1
        since_s = captured_s - self._key_s
        if since_s < self.terms.least_s or not (since_s >= self.terms.most_s or self._differs(blocks)):
            return False
        self._last, self._key_s = blocks, captured_s
        self.keys += 1
        return True

    def _differs(self, blocks: NDArray[np.float64]) -> bool:
        if self._last is None:
            return True
        by = blocks - self._last
        return bool(np.abs(by - np.median(by)).max() > self.terms.changed)

    def _blocks(self, frame: Frame) -> NDArray[np.float64]:
        """Mean brightness of each block, of 1; what does not fill a row or column of blocks is left out."""
        rows, columns = self.terms.rows, self.terms.columns
        if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != len(LUMA)):
            raise ValueError(f"a frame is uint8 [height, width] or [height, width, 3], not {frame.dtype} {frame.shape}")
        height, width = (side // count for side, count in zip(frame.shape, (rows, columns), strict=False))
        if not height or not width:
            raise ValueError(f"a frame of {frame.shape[1]} × {frame.shape[0]} has no {columns} × {rows} blocks")
        cut = frame[: rows * height, : columns * width]
        means: NDArray[np.float64] = cut.reshape(rows, height, columns, width, -1).mean(axis=(1, 3)) / 255
        return means @ LUMA if frame.ndim == 3 else means[..., 0]
