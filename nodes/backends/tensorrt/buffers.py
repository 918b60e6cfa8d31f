"""The memory that a session's tensors cross in: for each a pinned piece here and a piece on the GPU, of equal size.

Pieces grow when a larger tensor comes and never shrink.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nodes.backend import Array
from nodes.backends.tensorrt.cuda import Cuda


@dataclass(slots=True)
class _Piece:
    pinned: NDArray[np.uint8]
    device: int
    nbytes: int = 0
    array: Array | None = None


class Buffers:
    """Pieces by tensor name."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._pieces: dict[str, _Piece] = {}

    def fit(self, name: str, dtype: str, shape: Sequence[int]) -> bool:
        """Have room for a tensor and lay it out. True if its place on the GPU is new: tell the engine."""
        nbytes = np.dtype(dtype).itemsize * prod(shape)
        piece = self._pieces.get(name)
        moved = piece is None or piece.pinned.size < nbytes
        if piece is None or moved:
            self._free(name)
            piece = self._pieces[name] = self._piece(max(nbytes, 1))
        piece.nbytes = nbytes
        piece.array = piece.pinned[:nbytes].view(dtype).reshape(shape)
        return moved

    def array(self, name: str) -> Array:
        """The pinned piece as the tensor that was laid out."""
        array = self._pieces[name].array
        assert array is not None  # fit() lays out before anybody asks
        return array

    def device(self, name: str) -> int:
        """Where the tensor lies on the GPU."""
        return self._pieces[name].device

    def send(self, name: str, stream: int) -> None:
        """To the GPU, in the stream's turn."""
        piece = self._pieces[name]
        self._cuda.to_device(piece.device, piece.pinned, piece.nbytes, stream)

    def fetch(self, name: str, stream: int) -> None:
        """From the GPU, in the stream's turn."""
        piece = self._pieces[name]
        self._cuda.to_host(piece.pinned, piece.device, piece.nbytes, stream)

    def free(self) -> None:
        """Give everything back."""
        for name in list(self._pieces):
            self._free(name)

    def _piece(self, nbytes: int) -> _Piece:
        pinned = self._cuda.pin(nbytes)
        try:
            return _Piece(pinned, self._cuda.allocate(nbytes))
        except BaseException:
            self._cuda.unpin(pinned)
            raise

    def _free(self, name: str) -> None:
        piece = self._pieces.pop(name, None)
        if piece is not None:
            self._cuda.free(piece.device)
            self._cuda.unpin(piece.pinned)
