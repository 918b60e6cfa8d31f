"""What our Session costs over each engine called bare, and what a start from the cache costs over the first.

Every engine × zoo model × 1 and 2 threads, each in a process of its own; ours and bare in turn. A call may cost 50 µs
or 3 % more, whichever is larger: told is the share of that which it takes. Latencies are the bare engines', untuned.

A first start compiles and keeps, a warm start takes what was kept; where an engine is told to keep, a start that keeps
nothing stands beside them. Each is in a process of its own, in turn, vendor's packages imported.
"""

import argparse
import os
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from kit.bare import bare
from kit.figures import Figure, figure, report

from isthmus.zoo import build
from nodes.backend import load_backend
from nodes.errors import EngineMissing, NodesError
from nodes.timing import sample_feeds, time_together

ENGINES = ("onnxruntime", "openvino", "mnn", "tvm")
MODELS = ("efficientnet_lite0", "ocr_detect", "ocr_read", "minilm")
KEEPING = {"onnxruntime": {"cache": True}, "openvino": {"cache": True}, "mnn": {}, "tvm": {}}  # each engine's options
ALLOWED_S, ALLOWED = 50e-6, 0.03
WARM = 0.2  # of a cold compile
STARTS, FEWEST, ENOUGH_S = 7, 3, 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one model, one thread")
    given = parser.parse_args()
    figures: list[Figure] = []
    for engine in ENGINES:
        for name in MODELS[: 1 if given.quick else None]:
            path = str(build(name))
            for threads in (1,) if given.quick else (1, 2):
                told = _apart(_overhead, engine, path, threads, 0.5 if given.quick else 1.5)
                figures += [figure(f"{engine} {name}, {threads}: {what}", *rest) for what, *rest in told]
            told = _warm(engine, path, FEWEST if given.quick else STARTS)
            figures += [figure(f"{engine} {name}: {what}", *rest) for what, *rest in told]
    report("backends", figures, given.json)


def _apart(task: Any, *given: Any) -> list[Any]:
    """What a task tells from a process of its own; a line on stderr and nothing where an engine is not here."""
    with get_context("spawn").Pool(1) as pool:
        try:
            found: list[Any] = pool.apply(task, given)
        except (EngineMissing, NodesError) as error:
            print(f"{given[0]} is left out: {error}", file=sys.stderr)
            return []
    return found


def _overhead(engine: str, path: str, threads: int, seconds: float) -> list[tuple[Any, ...]]:
    session = load_backend(engine).compile(Path(path), threads=threads)
    feeds = sample_feeds(session.inputs)
    calls = {"ours": lambda: session.run(feeds), "bare": bare(engine, session, feeds)}
    shares, bare_s = [], []
    for _ in range(5):
        times = time_together(calls, seconds=seconds / 5)
        alone_s = times["bare"].median_s
        shares.append((times["ours"].median_s - alone_s) / max(ALLOWED_S, ALLOWED * alone_s))
        bare_s.append(alone_s)
    share = (median(shares), "of the overhead allowed", 1.0, "lower", (min(shares), max(shares)))
    return [("overhead", *share), ("bare", median(bare_s) * 1e3, "ms", None, "lower", _ms(bare_s))]


def _warm(engine: str, path: str, most: int) -> list[tuple[Any, ...]]:
    taken: dict[str, list[float]] = {"cold": [], "warm": [], "plain": []}
    begun_s = perf_counter()
    while len(taken["cold"]) < most and (len(taken["cold"]) < FEWEST or perf_counter() - begun_s < ENOUGH_S):
        with tempfile.TemporaryDirectory() as folder:
            for kind in taken if KEEPING[engine] else ("cold", "warm"):
                options = {} if kind == "plain" else KEEPING[engine]
                taken[kind] += _apart(_start, engine, path, folder, options)
        if not taken["cold"]:
            return []
    told = [("a warm start of a cold compile", *_share(taken["warm"], taken["cold"], WARM))]
    if taken["plain"]:
        told.append(("a warm start of a compile that keeps nothing", *_share(taken["warm"], taken["plain"], None)))
    return told


def _start(engine: str, path: str, home: str, options: dict[str, bool]) -> list[float]:
    os.environ["XDG_CACHE_HOME"] = home
    backend = load_backend(engine)
    started_s = perf_counter()
    backend.compile(Path(path), options=options).close()
    return [perf_counter() - started_s]


def _share(warm_s: list[float], of_s: list[float], target: float | None) -> tuple[Any, ...]:
    shares = [one / other for one, other in zip(warm_s, of_s, strict=True)]
    value, unit = median(warm_s) / median(of_s), f"of {median(of_s) * 1e3:.0f} ms"
    return value, unit, target, "lower", (min(shares), max(shares))


def _ms(seconds: list[float]) -> tuple[float, float]:
    return min(seconds) * 1e3, max(seconds) * 1e3


if __name__ == "__main__":
    main()
