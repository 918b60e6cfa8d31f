"""Keeps the quantisers' prints, logs and warnings to themselves, and maps what they raise."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from nodes.errors import NodesError
from nodes.variants.errors import NotPossible
from partitioner.errors import PartitionerError

VENDOR = "onnxruntime"


@contextmanager
def quiet(form: str) -> Iterator[None]:
    """Around a quantiser's calls. What it raises becomes a NotPossible of one line; our own errors pass.

    The quantisers log through the root logger, which would set itself up to print: a handler that drops all
    prevents it.
    """
    root, own, dropped = logging.getLogger(), logging.getLogger(VENDOR), logging.NullHandler()
    level = own.level
    root.addHandler(dropped)
    root.addFilter(_is_ours)
    own.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (NodesError, PartitionerError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise NotPossible(f"the model cannot take the form {form}: {type(error).__name__}: {said}") from None
    finally:
        own.setLevel(level)
        root.removeFilter(_is_ours)
        root.removeHandler(dropped)


def _is_ours(record: logging.LogRecord) -> bool:
    return f"/{VENDOR}/" not in record.pathname
