"""Splits English text into word pieces, as BERT's uncased models were trained: enough for examples and calibration.

Accents are dropped, each character that is no letter or digit is a word, and a word is cut into the longest pieces that
the vocabulary holds (Wu et al., arXiv:1609.08144). Chinese characters, which stand alone there, aren't set apart.
"""

import re
import unicodedata
from collections.abc import Container, Iterator

UNKNOWN = "[UNK]"
LONGEST = 100  # letters; a longer word is unknown


def pieces(text: str, vocabulary: Container[str]) -> Iterator[str]:
    """The pieces of a text, those inside a word with ## in front."""
    plain = "".join(one for one in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(one) != "Mn")
    for word in re.findall(r"[^\W_]+|[^\w\s]|_", plain):
        yield from _cut(word, vocabulary)


def _cut(word: str, vocabulary: Container[str]) -> list[str]:
    found: list[str] = []
    start = 0
    while start < len(word) <= LONGEST:
        ends = (end for end in range(len(word), start, -1) if _piece(word, start, end) in vocabulary)
        end = next(ends, None)
        if end is None:
            return [UNKNOWN]
        found.append(_piece(word, start, end))
        start = end
    return found or [UNKNOWN]


def _piece(word: str, start: int, end: int) -> str:
    return f"##{word[start:end]}" if start else word[start:end]
