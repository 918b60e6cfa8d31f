"""Files as model inputs: .npy, .npz, images and folders of them, fitted to what each input wants."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, EngineMissing
from nodes.functions import function
from nodes.held import as_held

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST = 16  # samples taken of a folder


def load_inputs(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """One request's tensors from a file. BadInput, in one line, if the file does not fit the inputs."""
    if not path.is_file():
        raise BadInput(f"no file {path}; give a .npz, .npy or image file")
    match path.suffix.lower():
        case ".npz":
            return _arrays(path)
        case ".npy":
            return {_only(path, inputs).name: _arrays(path)[""]}
        case suffix if suffix in PICTURES:
            spec = _only(path, inputs)
            return {spec.name: _picture(path, spec)}
        case suffix:
            raise BadInput(f"{path}: no reader for {suffix!r} files; give a .npz, .npy or image file")


def load_samples(given: Mapping[str, Path], inputs: Sequence[TensorSpec]) -> tuple[dict[str, Array], ...]:
    """Sample feeds from a file or folder per input, at most MOST; inputs without one are left out."""
    series: dict[str, list[Array]] = {}
    for name, path in given.items():
        spec = next((spec for spec in inputs if spec.name == name), None)
        if spec is None:
            raise BadInput(f"samples of {name}: the model has no such input")
        files = sorted(entry for entry in path.iterdir() if entry.is_file())[:MOST] if path.is_dir() else [path]
        if not files:
            raise BadInput(f"samples of {name}: {path} is an empty folder")
        series[name] = [_of(file, name, load_inputs(file, (spec,))) for file in files]
    count = min((len(arrays) for arrays in series.values()), default=0)
    return tuple({name: arrays[index] for name, arrays in series.items()} for index in range(count)) or ({},)


def _of(path: Path, name: str, held: Mapping[str, Array]) -> Array:
    if name not in held:
        raise BadInput(f"samples of {name}: {path} holds no array of that name, only {', '.join(held) or 'nothing'}")
    return held[name]


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of an archive by name, or a single one under ""; objects, which only pickle reads, are refused."""
    try:
        held = np.load(path)
        if isinstance(held, np.ndarray):
            return {"": as_held(held)}
        with held:
            return {name: as_held(held[name]) for name in held.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInput(f"{path} cannot be read as NumPy arrays: {' '.join(str(error).split())[:120]}") from None


def _only(path: Path, inputs: Sequence[TensorSpec]) -> TensorSpec:
    if len(inputs) != 1:
        raise BadInput(
            f"{path}: the model has {len(inputs)} inputs; give a .npz with {', '.join(s.name for s in inputs)}"
        )
    return inputs[0]


def _picture(path: Path, spec: TensorSpec) -> Array:
    """The encoded bytes for a uint8[n] input, pixels for uint8[H, W, 3] (centre-cropped to fit)."""
    if spec.dtype == "uint8" and len(spec.shape) == 1:
        return np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if spec.dtype != "uint8" or len(spec.shape) != 3:
        raise BadInput(
            f"{path}: {spec.name} is {spec.dtype}{list(spec.shape)}, and how pixels become that is not known; "
            "give a .npy, or a model whose input is uint8"
        )
    pixels = _pixels(path)
    height, width = spec.shape[:2]
    if height is None or width is None or pixels.shape[:2] == (height, width):
        return pixels
    return function("resize").run({"size": [height, width], "crop": 0.875}, pixels)[0]


def _pixels(path: Path) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise EngineMissing('reading pictures needs Pillow; install it with: pip install "isthmus[zoo]"') from None
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except OSError as error:
        raise BadInput(f"{path} is no picture: {error}") from None
