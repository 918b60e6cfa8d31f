"""`python -m nodes.selecting.process`: measures one cell, in a process where no other engine is.

It reads a request on stdin and writes what it found on stdout; whatever an engine prints goes to stderr. It dies with
its parent, and may be killed at any time: what it said until then holds.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TextIO

from nodes import artifact
from nodes.backend import load_backend
from nodes.cache import engine_cache
from nodes.errors import CompileError, EngineMissing, NodesError, UnsupportedOperator
from nodes.program import Program
from nodes.selecting import footprint
from nodes.selecting.cells import BUILT, FAILED, RAN, REFUSED, Footprint, Measured, Speed
from nodes.selecting.exchange import Request, Said, Told, load_tensors, request_from, save_tensors, to_map
from nodes.selecting.machine import machine_label, usable_cores
from nodes.selecting.measure import Feeds, batch_row, runs_of

PDEATHSIG = 1  # prctl(2)
SCORE = Path("/proc/self/oom_score_adj")
Say = Callable[[Said], None]


def main() -> None:
    """Answer the request on stdin."""
    _end_with_parent(os.getppid())
    _end_before_others()
    channel = _own_stdout()

    def say(found: Said) -> None:
        channel.write(json.dumps(to_map(found)) + "\n")
        channel.flush()

    request = request_from(json.loads(sys.stdin.read()))
    if request.folder:
        measure(request, say)
    else:
        say(capabilities(request.cell.backend))
    # An engine's own threads may crash an interpreter that ends in order, and everything has been said.
    sys.stderr.flush()
    os._exit(0)


def capabilities(backend: str) -> Told:
    """What an engine says of itself, or why it isn't here; and what machine this is."""
    told = Told(backend=backend, machine=machine_label(), cores=usable_cores())
    try:
        found = load_backend(backend).capabilities()
    except EngineMissing as missing:
        return replace(told, missing=str(missing))
    except NodesError as error:
        return replace(told, missing=f"{backend} cannot be asked: {error}")
    return replace(
        told,
        version=found.version,
        devices=found.devices,
        precisions=found.precisions,
        options=tuple(found.options),
    )


def measure(request: Request, say: Say) -> None:
    """Measure the request's cell and say what is known, more each time."""
    try:
        _measure(request, say)
    except (EngineMissing, UnsupportedOperator, CompileError) as refusal:
        say(Measured(state=REFUSED, reason=_one_line(refusal)))
    except NodesError as fault:
        say(Measured(state=FAILED, reason=_one_line(fault)))
    except MemoryError:
        say(Measured(state=FAILED, reason=f"{request.cell.backend} ran out of memory"))
    except Exception as fault:  # an engine's own that nobody mapped: a row, not the end
        say(Measured(state=FAILED, reason=f"{type(fault).__name__}: {_one_line(fault)}"))


def _measure(request: Request, say: Say) -> None:
    cell, folder = request.cell, Path(request.folder)
    samples: list[Feeds] = list(load_tensors(Path(request.samples)))
    kept, modules = footprint.compiled(engine_cache()), set(sys.modules)
    footprint.forget_peak()
    resident = footprint.resident_bytes()
    begun_s = perf_counter()
    backend = load_backend(cell.backend)
    loaded_s = perf_counter()
    program = _load(folder, request)
    build_s = perf_counter() - loaded_s
    program.run(samples[0])
    first_s = perf_counter() - begun_s
    told = backend.capabilities()
    used_bytes, cached = footprint.used_since(kept, footprint.compiled(engine_cache()))
    if used_bytes and not cached and not request.built:
        # Memory and libraries of a compiler are not those of what runs: that is measured where it needn't compile.
        say(Measured(state=BUILT, version=told.version, first_s=first_s, build_s=build_s))
        return
    runs = runs_of(program, samples, seconds=request.seconds)
    spent = Footprint(
        memory_bytes=max(0, footprint.peak_bytes() - resident),
        artifact_bytes=used_bytes or artifact.read(folder).nbytes,
        build_s=build_s,
        cached=cached,
        cpu_s=runs.cpu_s,
        rapl_j=runs.rapl_j,
        devices=told.devices,
    )
    speed = Speed(first_s=first_s, p50_s=runs.p50_s, p99_s=runs.p99_s, runs=len(runs.taken_s))
    if request.outputs:
        save_tensors(Path(request.outputs), [program.run(feeds) for feeds in samples])
    found = Measured(state=RAN, version=told.version, speed=speed, footprint=spent)
    say(found)
    program.close()
    if request.outputs:
        found = replace(found, footprint=_with_installed(spent, set(sys.modules) - modules))
        say(found)
    _batches(request, found, speed, samples, say)


def _load(folder: Path, request: Request) -> Program:
    cell = request.cell
    return Program.load(
        folder, backend=cell.backend, precision=cell.precision, threads=cell.threads, options=dict(cell.options)
    )


def _with_installed(spent: Footprint, modules: set[str]) -> Footprint:
    names = footprint.distributions_of(modules, footprint.mapped_libraries())
    size = footprint.install_bytes(names)
    return replace(spent, distributions=names, install_bytes=size, needs=footprint.needs_of(names))


def _batches(request: Request, found: Measured, speed: Speed, samples: list[Feeds], say: Say) -> None:
    """The batch curve, said row by row: an engine may refuse or crash at a larger batch."""
    for size, folder in sorted(request.batches.items(), key=lambda one: int(one[0])):
        try:
            program = _load(Path(folder), request)
            row = batch_row(program, samples, int(size), seconds=request.seconds / 2)
            program.close()
        except NodesError as error:
            say(replace(found, speed=replace(speed, batch_note=f"batch {size}: {_one_line(error)}")))
            return
        speed = replace(speed, batches=(*speed.batches, row))
        say(replace(found, speed=speed))


def _own_stdout() -> TextIO:
    """What was stdout, for us alone; file descriptor 1, which engines' C code prints to, becomes stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def _end_with_parent(parent: int) -> None:
    try:
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # not Linux
    if os.getppid() != parent:
        os._exit(1)


def _end_before_others() -> None:
    """Where memory runs out, the kernel is to end this process rather than the one that asked."""
    try:
        SCORE.write_text("1000")
    except OSError:
        return  # not Linux, or not allowed


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]


if __name__ == "__main__":
    main()
