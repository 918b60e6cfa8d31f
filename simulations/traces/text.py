"""Opens the text files that traces and arrivals are in. What cannot be opened is said once, with its path."""

import csv
from io import StringIO
from pathlib import Path

from simulations.errors import BadTrace


def read_text(path: Path) -> str:
    """All of it. BadTrace for what is not there, no file, or not text in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadTrace(f"{path}: {error.strerror or error}; give the path of a file") from None
    except UnicodeDecodeError:
        raise BadTrace(f"{path}: not text in UTF-8; give the path of a text file") from None


def read_csv(path: Path) -> list[list[str]]:
    """Its lines' cells."""
    try:
        return list(csv.reader(StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise BadTrace(f"{path}: not lines of cells: {error}") from None


def read_named(path: Path) -> list[dict[str, str]]:
    """Its lines' cells by the names in the first line; empty lines are left out."""
    try:
        return list(csv.DictReader(StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise BadTrace(f"{path}: not lines of cells: {error}") from None
