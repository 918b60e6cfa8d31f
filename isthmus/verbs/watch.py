"""`isthmus status --watch`: looks again and again, until Ctrl-C.

On a terminal a look replaces the one before it; in a pipe they follow each other; with --json each is an object on
a line of its own. A controller that stops answering is told of, and asked on.
"""

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any, TextIO

from rich.console import Console, RenderableType

from isthmus.verbs.cluster import joined
from isthmus.watching import look
from orchestrator.errors import ClusterError

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate screen without a cursor, and back
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Status = Mapping[str, Any]
Show = Callable[[Status, float, str | None], None]


def watch_status(address: str | None, every_s: float, *, as_json: bool) -> None:
    """Show the cluster's status every `every_s` seconds. Returns at Ctrl-C; ClusterError if there is no cluster."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the terminal is given back
    try:
        with joined(address) as client, _shown(sys.stdout, every_s, as_json=as_json) as show:
            watch(client.status, every_s, show)
    except KeyboardInterrupt:
        return


def watch(ask: Callable[[], Status], every_s: float, show: Show, *, wait: Callable[[float], None] = time.sleep) -> None:
    """Ask and show until interrupted, at equal distances as far as answers come in time.

    ClusterError if the very first is not answered; later it is shown beside what was known last.
    """
    last = None
    while True:
        began_s = time.monotonic()
        try:
            last, fault = ask(), None
        except ClusterError as error:
            if last is None:
                raise
            fault = str(error)
        show(last, time.time(), fault)
        wait(max(0.0, began_s + every_s - time.monotonic()))


@contextmanager
def _shown(out: TextIO, every_s: float, *, as_json: bool) -> Iterator[Show]:
    """How looks are shown on `out`; a terminal is left as it was."""
    if as_json:
        yield lambda status, at_s, fault: _line(out, status, at_s, fault)
    elif not out.isatty():
        yield lambda status, at_s, fault: _append(out, look(status, at_s, fault=fault), at_s)
    else:
        out.write(ENTER)
        try:
            yield lambda status, at_s, fault: _replace(out, look(status, at_s, fault=fault), at_s, every_s)
        finally:
            out.write(LEAVE)
            out.flush()


def _line(out: TextIO, status: Status, at_s: float, fault: str | None) -> None:
    told = {"at_s": at_s, "error": fault} if fault is not None else {"at_s": at_s, **status}
    out.write(json.dumps(told, default=str) + "\n")
    out.flush()


def _append(out: TextIO, picture: RenderableType, at_s: float) -> None:
    out.write(f"{_clock(at_s)}\n")
    Console(file=out, highlight=False).print(picture)
    out.write("\n")
    out.flush()


def _replace(out: TextIO, picture: RenderableType, at_s: float, every_s: float) -> None:
    """The picture over the one before, cut where the terminal ends."""
    columns, rows = shutil.get_terminal_size()
    drawn = StringIO()
    Console(file=drawn, force_terminal=True, highlight=False, width=columns).print(picture)
    head = f"{_clock(at_s)}, every {every_s:g} s; Ctrl-C ends"
    lines = [head[:columns], *drawn.getvalue().splitlines()]
    if len(lines) > rows:
        lines[rows - 1 :] = [f"… {len(lines) - rows + 1} lines more in a taller window"[:columns]]
    out.write(HOME + f"{END_OF_LINE}\r\n".join(lines) + END_OF_LINE + END_OF_SCREEN)
    out.flush()


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))
