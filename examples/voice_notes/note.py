"""The labelled set: a note of ten sentences, a second between them.

It was made by `espeak-ng -v en-us -s 130`, a sentence at a time, with a little noise, and kept as Ogg Vorbis at 16 kHz.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

NOTE = Path(__file__).with_name("note.ogg")
SENTENCES = (
    "Please send the report to my brother in London.",
    "We need more paper and a new printer for the office.",
    "The train to the city was late again today.",
    "I would like to buy a house near the river.",
    "My doctor said that I should sleep more.",
    "The children played in the garden until it was dark.",
    "She wrote a long letter to her old friend.",
    "The weather will be cold and windy this weekend.",
    "There is a small café at the end of the street.",
    "The window in the bathroom is broken.",
)


def words(text: str) -> list[str]:
    """What is compared: words without case and the signs around them."""
    found = (word.strip(".,!?;:'\"") for word in text.lower().split())
    return [word for word in found if word]


def right_words(heard: Sequence[str]) -> int:
    """How many words of the note were heard, in their order."""
    said = [word for sentence in SENTENCES for word in words(sentence)]
    told = [word for text in heard for word in words(text)]
    return sum(block.size for block in SequenceMatcher(None, said, told, autojunk=False).get_matching_blocks())


def all_words() -> int:
    """How many words the note has."""
    return sum(len(words(sentence)) for sentence in SENTENCES)
