"""What our Session costs over each engine called bare, and what a warm start costs over a cold one.

Every engine × zoo model × 1 and 2 threads, each in a process of its own; ours and bare in turn. A call may cost 50 µs
or 3 % more, whichever is larger: told is the share of that which it takes. Latencies are the bare engines', untuned.
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
CACHES = {"openvino": {"cache": True}, "mnn": {}, "tvm": {}}  # the options under which each keeps what it compiled
ALLOWED_S, ALLOWED = 50e-6, 0.03
WARM = 0.2  # of a cold compile


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
            if engine in CACHES:
                told = _apart(_warm, engine, path)
                figures += [figure(f"{engine} {name}: {what}", *rest) for what, *rest in told]
    report("backends", figures, given.json)


def _apart(task: Any, *given: Any) -> list[tuple[Any, ...]]:
    """What a task tells from a process of its own; a line on stderr and nothing where an engine is not here."""
    with get_context("spawn").Pool(1) as pool:
        try:
            found: list[tuple[Any, ...]] = pool.apply(task, given)
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


def _warm(engine: str, path: str) -> list[tuple[Any, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        backend = load_backend(engine)
        taken = []
        for _ in range(4):
            started_s = perf_counter()
            backend.compile(Path(path), options=CACHES[engine]).close()
            taken.append(perf_counter() - started_s)
    cold_s, *warm_s = taken
    spread = (min(warm_s) / cold_s, max(warm_s) / cold_s)
    return [("a warm start of a cold compile", median(warm_s) / cold_s, f"of {cold_s:.2f} s", WARM, "lower", spread)]


def _ms(seconds: list[float]) -> tuple[float, float]:
    return min(seconds) * 1e3, max(seconds) * 1e3


if __name__ == "__main__":
    main()
