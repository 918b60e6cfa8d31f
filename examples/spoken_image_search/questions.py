"""The labelled set: eight photographs, and seven questions with the photograph that each means.

The clips were made by `espeak-ng -v en-us+f3 -s 130` and kept as Ogg Vorbis at 16 kHz.
"""

from pathlib import Path

from isthmus.zoo.photos import photo

CLIPS = Path(__file__).parent / "clips"
ALBUM = ("coffee", "camera", "chelsea", "rocket", "motorcycle", "china", "flower", "astronaut")
# The clip's name → what it says, and the photograph meant.
QUESTIONS = {
    "cat": ("Show me a picture of a cat.", "chelsea"),
    "coffee": ("I would like a cup of coffee.", "coffee"),
    "rocket": ("A rocket launch into space.", "rocket"),
    "motorbike": ("A motorbike in the garage.", "motorcycle"),
    "camera": ("A photographer using a camera.", "camera"),
    "temple": ("An ancient Chinese temple.", "china"),
    "flower": ("A beautiful flower in the garden.", "flower"),
}


def album() -> dict[str, bytes]:
    """Name → JPEG file."""
    return {name: photo(name) for name in ALBUM}


def clip(name: str) -> bytes:
    """The sound file that asks a question."""
    return (CLIPS / f"{name}.ogg").read_bytes()
