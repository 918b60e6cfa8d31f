"""Text to tokens and back."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from nodes.errors import BadInput, UnsupportedOperator
from nodes.functions import Param
from tests.nodes.functions.called import called, texts

VOCABULARY = {"[UNK]": 0, "a": 1, "red": 2, "boat": 3}


def saved() -> str:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return str(tokenizer.to_str())


def test_texts_are_filled_up_and_cut_off() -> None:
    ids, mask = called("tokenise", texts("a red boat", "a", "red boat a a a red"), tokenizer=saved(), length=4)
    assert ids.tolist() == [[1, 2, 3, 0], [1, 0, 0, 0], [2, 3, 1, 1]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


def test_tokens_become_the_text_that_they_were_of() -> None:
    (text,) = called("detokenise", np.array([[1, 2, 3, -1]]), tokenizer=saved())
    assert text.tolist() == [b"a red boat"]


def test_bytes_that_are_not_utf8_are_refused_with_their_place() -> None:
    with pytest.raises(BadInput, match="not UTF-8: byte 0xff at 2"):
        called("tokenise", texts(b"a \xff"), tokenizer=saved())


def test_endless_text_is_refused() -> None:
    with pytest.raises(BadInput, match=r"text of 65,537 bytes or more; at most 65,536"):
        called("tokenise", texts(*[b"a" * 2**15] * 2, b"a"), tokenizer=saved())
    with pytest.raises(BadInput, match="token 4294967296; no vocabulary"):
        called("detokenise", np.array([2**32]), tokenizer=saved())


def test_no_text_and_no_tokenizer_are_told() -> None:
    with pytest.raises(BadInput, match="no text"):
        called("tokenise", texts(), tokenizer=saved())
    with pytest.raises(UnsupportedOperator, match=r"'tokenizer' is no tokenizer\.json"):
        called("tokenise", texts("a"), tokenizer="{}")
    with pytest.raises(UnsupportedOperator, match="'tokenizer' must be text"):
        called("tokenise", texts("a"))
    with pytest.raises(UnsupportedOperator, match="'length' must be a whole number from 1"):
        called("tokenise", texts("a"), tokenizer=saved(), length=0)


LOGITS = np.array([[0.1, 0.9, 0.5, 0.7]], np.float32)


@pytest.mark.parametrize(("position", "token"), [(0, 3), (1, 2), (2, 3)])
def test_the_likeliest_token_that_may_be_said_there_is(position: int, token: int) -> None:
    params: dict[str, Param] = {"never": [1], "never_first": [3]}
    (found,) = called("likeliest", LOGITS, np.array([position]), **params)
    assert found.tolist() == [[token]]
    assert LOGITS[0, 1] == np.float32(0.9)  # the step's own logits stay as they are


def test_where_no_token_is_left_none_is_made_up() -> None:
    for logits in (LOGITS[:, :1], np.full((1, 3), np.nan, np.float32)):
        with pytest.raises(BadInput, match="none is a number"):
            called("likeliest", logits, np.array([1]), never=[0])
