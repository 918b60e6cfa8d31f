"""The function that looks for watched words in what was read, allowing for letters read wrong. rapidfuzz compares."""

from collections.abc import Mapping
from types import ModuleType

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing
from nodes.functions.params import Function, Params, number
from nodes.functions.text import held, texts
from nodes.held import STRING

_SHORTEST = 3  # letters of a word that is looked for


def _match_words(params: Params, lines: Array, sure: Array, watched: Array) -> tuple[Array, ...]:
    """Lines, text [n], how sure each was read, float32 [n], and watched words, text [k], one a line → the word that is
    most like a part of a line, text [1], and how much, float32 [1] from 0 to 1.

    Letters and figures count, whatever their case; likeness is 1 − insertions and deletions / letters of both (the
    best alignment of the shorter one). Lines read with less than `sure` (0.5) do not count, nor words below three
    letters. Of equals the longest is told, "" and 0 where nothing is alike by `least` (0.85). BadInput for text that is
    not UTF-8.
    """
    if lines.shape != sure.shape:
        raise BadInput(f"{lines.size} lines need as many certainties, not {list(sure.shape)}")
    fuzz, least = _rapidfuzz(), float(number(params, "least", 0.85))
    known = np.asarray(sure, np.float64).reshape(-1) >= float(number(params, "sure", 0.5))
    read = [_letters(line) for line, is_known in zip(texts(lines), known, strict=True) if is_known]
    words = {word.strip(): _letters(word) for one in texts(watched) for word in one.splitlines()}
    found = [("", 0.0)]
    for word, wanted in words.items():
        for line in read if len(wanted) >= _SHORTEST else ():
            # The shorter one slides along the longer: of a line shorter than the word, the whole word must be there.
            compare = fuzz.partial_ratio if len(line) >= len(wanted) else fuzz.ratio
            if (likeness := compare(wanted, line) / 100) >= least:
                found.append((word, likeness))
    word, likeness = max(found, key=lambda pair: (pair[1], len(pair[0])))
    return held([word]), np.array([likeness], np.float32)


def _letters(text: str) -> str:
    return "".join(one for one in text.casefold() if one.isalnum())


def _rapidfuzz() -> ModuleType:
    try:
        from rapidfuzz import fuzz
    except ImportError:
        raise EngineMissing(
            'matching words needs rapidfuzz; install it with: pip install "isthmus[pipelines]"'
        ) from None
    found: ModuleType = fuzz
    return found


MATCHING: Mapping[str, Function] = {
    "match_words": Function(
        _match_words,
        lambda params, lines, sure, watched: ((STRING, (1,)), ("float32", (1,))),
        (STRING, "float32", STRING),
        ("word", "likeness"),
        params=("least", "sure"),
    ),
}
