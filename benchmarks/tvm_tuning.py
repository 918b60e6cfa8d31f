"""How fast are TVM's kernels after at most two minutes of tuning a model, against TVM as it comes and ONNX Runtime?

"As it comes" is TVM's own importer and compiler without a schedule. One thread, all in turn in one process, medians.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from kit.figures import Figure, figure, report
from kit.resnet import resnet18

from isthmus.zoo import build
from nodes.backend import Session, load_backend
from nodes.normalise import normalise
from nodes.timing import sample_feeds, time_together

TARGETS = {"efficientnet_lite0": 6.0, "minilm": 20.0, "resnet18": 20.0}  # times faster than as it comes
WITHIN = 5.0  # times ONNX Runtime's seconds
BUDGET_S, REPEATS = 110.0, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one model, 10 s of tuning")
    given = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in list(TARGETS)[: 1 if given.quick else None]:
            path = normalise(resnet18(Path(folder) / "r.onnx")).save(Path(folder) / "resnet18.onnx")
            path = path if name == "resnet18" else build(name)
            os.environ["XDG_CACHE_HOME"] = f"{folder}/{name}"
            figures += figures_of(name, path, 10.0 if given.quick else BUDGET_S)
    report("tvm_tuning", figures, given.json)


def figures_of(name: str, path: Path, budget_s: float) -> list[Figure]:
    """Ratios of medians, and how far the tuned model's outputs are from ONNX Runtime's."""
    from nodes.backends.tvm.targets import target
    from nodes.backends.tvm.tuning import tune

    tvm, ort = load_backend("tvm"), load_backend("onnxruntime").compile(path)
    untuned = tvm.compile(path)
    tuned_s = tune(path, target("host"), trials=0, budget_s=budget_s, threads=1).tuning_s
    tuned = tvm.compile(path)
    feeds = sample_feeds(ort.inputs)
    calls: dict[str, Callable[[], object]] = {
        "stock": _stock(path, tuned, feeds),
        "untuned": partial(untuned.run, feeds),
        "tuned": partial(tuned.run, feeds),
        "ort": partial(ort.run, feeds),
    }
    took = {what: one.median_s for what, one in time_together(calls, seconds=0, repeats=REPEATS).items()}
    error = _difference(tuned.run(feeds), ort.run(feeds))
    least = TARGETS[name]
    return [
        figure(f"{name}: tuned over TVM as it comes", took["stock"] / took["tuned"], "times faster", least, "higher"),
        figure(f"{name}: untuned over TVM as it comes", took["stock"] / took["untuned"], "times faster"),
        figure(f"{name}: tuned against ONNX Runtime", took["tuned"] / took["ort"], "of its seconds", WITHIN),
        figure(f"{name}: difference to ONNX Runtime", error, "of the largest output", 1e-4),
        figure(f"{name}: seconds of tuning", tuned_s, "s", 120.0),
    ]


def _stock(path: Path, like: Session, feeds: Any) -> Callable[[], object]:
    from nodes.backends.tvm.session import TvmSession
    from nodes.backends.tvm.targets import target
    from nodes.backends.tvm.vendor import tvm as vendor

    module = vendor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        kind = module.target.Target(dict(target("host").kind))
        compiled = module.compile(from_onnx(onnx.load(path)), target=kind)
    session = TvmSession(relax.VirtualMachine(compiled, module.cpu()), (like.inputs, like.outputs), 1)
    return partial(session.run, feeds)


def _difference(have: Any, want: Any) -> float:
    return max(float(np.abs(have[name] - want[name]).max() / np.abs(want[name]).max()) for name in want)


if __name__ == "__main__":
    main()
