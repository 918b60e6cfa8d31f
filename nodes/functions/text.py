"""Functions of text: dtype string, arrays of `bytes` in UTF-8. Hugging Face's tokenizers do the work.

A tokenizer travels as the JSON that such a library saves (tokenizer.json), in the parameter `tokenizer`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.errors import BadInput, EngineMissing, UnsupportedOperator
from nodes.functions import params as given
from nodes.functions.params import Function, Params, count, numbers
from nodes.held import STRING

MOST_BYTES = 1 << 16  # of all texts of a tensor: what is cut off is read, too, a tenth of a second for so much
_MOST_IDS = 1 << 32
KEPT = 16  # tokenizers a process holds parsed


def texts(array: Array) -> list[str]:
    """The elements as text. BadInput, with the place, for bytes that are not UTF-8, or for too many of them."""
    found, nbytes = [], 0
    for element in array.reshape(-1).tolist():
        data = element if isinstance(element, bytes) else str(element).encode()
        nbytes += len(data)
        if nbytes > MOST_BYTES:
            raise BadInput(f"text of {nbytes:,} bytes or more; at most {MOST_BYTES:,} are taken")
        try:
            found.append(data.decode())
        except UnicodeDecodeError as error:
            raise BadInput(f"text that is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}") from None
    return found


def held(words: list[str]) -> Array:
    """Text as tensors hold it [n]."""
    array = np.empty(len(words), np.object_)
    array[:] = [word.encode() for word in words]
    return array


def _tokenise(params: Params, text: Array) -> tuple[Array, ...]:
    """Text [n] → int64 ids [n, length] and mask [n, length]: cut off and filled up to `length` tokens."""
    length, lines = count(params, "length", 32), texts(text)
    if not lines:
        raise BadInput("no text to cut into tokens")
    tokenizer = _tokenizer(given.text(params, "tokenizer"), length)
    ids, mask = np.empty((2, len(lines), length), np.int64)
    for at, line in enumerate(lines):
        encoded = tokenizer.encode(line)  # holds all that was cut off, too: one at a time
        ids[at], mask[at] = encoded.ids, encoded.attention_mask
    return ids, mask


def _detokenise(params: Params, ids: Array) -> tuple[Array, ...]:
    """int64 [n] or [1, n] → text [1]; special tokens and those below 0 are left out."""
    if ids.dtype.kind not in "iu":
        raise BadInput(f"tokens are whole numbers, not {ids.dtype}")
    told = [one for one in ids.reshape(-1).tolist() if one >= 0]
    if told and max(told) >= _MOST_IDS:
        raise BadInput(f"token {max(told)}; no vocabulary has as many")
    tokenizer = _tokenizer(given.text(params, "tokenizer"), 0)
    return (held([tokenizer.decode(told, skip_special_tokens=True).strip()]),)


def _likeliest(params: Params, logits: Array, position: Array) -> tuple[Array, ...]:
    """float32 [1, vocabulary] of the step at int64 [1] → int64 [1, 1], the token with the largest logit.

    Tokens of `never` are not said, those of `never_first` not at the position `first`. BadInput if none is left.
    """
    row = logits.reshape(-1).copy()
    unsaid = _tokens(params, "never")
    if int(position.reshape(-1)[0]) == count(params, "first", 1, least=0):
        unsaid += _tokens(params, "never_first")
    row[[one for one in unsaid if one < row.size]] = -np.inf
    token = int(np.nanargmax(row)) if np.isfinite(row).any() else -1
    if token < 0:
        raise BadInput(f"of {row.size:,} logits none is a number that may be the largest")
    return (np.array([[token]], np.int64),)


def _tokens(params: Params, name: str) -> list[int]:
    return [int(one) for one in numbers(params, name, 0)] if name in params else []


@lru_cache(KEPT)
def _tokenizer(saved: str, length: int) -> Any:
    """One that fills up and cuts off to `length` (0: neither)."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise EngineMissing(
            'text functions need tokenizers; install it with: pip install "isthmus[pipelines]"'
        ) from None
    try:
        tokenizer = Tokenizer.from_str(saved)
    except Exception as error:  # the library raises this very class
        raise UnsupportedOperator(f"parameter 'tokenizer' is no tokenizer.json: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if length:
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length)
    return tokenizer


TEXT: Mapping[str, Function] = {
    "tokenise": Function(
        _tokenise,
        lambda params, text: (("int64", (text[0], count(params, "length", 32))),) * 2,
        (STRING,),
        ("ids", "mask"),
        params=("tokenizer", "length"),
    ),
    "detokenise": Function(
        _detokenise, lambda params, ids: ((STRING, (1,)),), ("int64",), ("text",), params=("tokenizer",)
    ),
    "likeliest": Function(
        _likeliest,
        lambda params, logits, position: (("int64", (1, 1)),),
        ("float32", "int64"),
        ("token",),
        params=("never", "never_first", "first"),
    ),
}
