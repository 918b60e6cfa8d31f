"""Tunes kernels by measuring: each schedule is built and run in this process, the best goes on record at once.

Kernels are tried as `schedules` writes them, tile by tile: each a fraction of a second, and several times faster than
random points of MetaSchedule's space. Only what isn't known there is tried at such points (replay-trace, no cost
model: with a few trials a kernel there is nothing to learn from). Every kernel gets one trial, then the next always
goes where most of the model's time is and least was tried, so that a small budget pays most. Records are written as
tuning goes: what an interrupted one learned is kept. A kernel runs with zeros and random numbers as its inputs.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nodes.backends.tvm.kernels import Kernel, kernels_of
from nodes.backends.tvm.lower import Lowered, lower
from nodes.backends.tvm.records import Records, records_of
from nodes.backends.tvm.schedules import by_hand
from nodes.backends.tvm.session import use_threads
from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import NAME, quiet, tvm
from nodes.errors import CompileError

_BY_HAND = 12  # schedules by hand per kernel, at most
_SAMPLE_S = 0.02  # how long a schedule is measured for
_CORES = 4  # MetaSchedule writes for as many cores; fewer threads share the pieces
_HOPELESS = 3.0  # a schedule this much slower than the best in its first run is not measured further


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a tuning did. `before_s` and `after_s` are sums over one run's kernels: as first tried, and as now known."""

    kernels: int
    trials: int
    failed: int
    before_s: float
    after_s: float
    tuning_s: float


def tune(
    model: bytes | Path,
    spec: TargetSpec,
    *,
    trials: int,
    budget_s: float,
    threads: int,
    on_progress: Callable[[Tuned], None] | None = None,
) -> Tuned:
    """Tune what the model needs: `trials` per kernel, those on record counted, and `budget_s` at most; 0: no bound.

    CompileError for a target that is not this machine, or without any bound.
    """
    lowered = lower(model, tvm().target.Target(dict(spec.kind)))
    return tune_lowered(lowered, spec, trials=trials, budget_s=budget_s, threads=threads, on_progress=on_progress)


def tune_lowered(
    lowered: Lowered,
    spec: TargetSpec,
    *,
    trials: int,
    budget_s: float,
    threads: int,
    on_progress: Callable[[Tuned], None] | None = None,
) -> Tuned:
    """`tune` for a model that is lowered already."""
    if spec.compiler is not None:
        raise CompileError(f"{NAME} tunes on the machine itself, not for {spec.name} from here")
    if not trials and not budget_s:
        raise CompileError(f"{NAME} tunes with trials, budget_s or both; neither was given")
    started_s = time.monotonic()
    end_s = started_s + budget_s if budget_s else inf
    target = tvm().target.Target({**spec.kind, "num-cores": _CORES})
    records = records_of(spec.kind)
    use_threads(threads)
    searches = [
        _Search.of(kernel, target, records, trials or inf) for kernel in _merged(kernels_of(lowered.module, target))
    ]
    while time.monotonic() < end_s and (search := max(searches, key=_Search.promise, default=None)):
        if search.promise() <= 0:
            break
        search.step(end_s)
        if on_progress is not None:
            on_progress(_figures(searches, time.monotonic() - started_s))
    return _figures(searches, time.monotonic() - started_s)


def _merged(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Kernels that share their records as one, with the calls of all."""
    merged: dict[str, Kernel] = {}
    for kernel in kernels:
        calls = kernel.calls + (merged[kernel.key].calls if kernel.key in merged else 0)
        merged[kernel.key] = Kernel(kernel.name, kernel.key, calls, kernel.module)
    return list(merged.values())


@dataclass(slots=True)
class _Search:
    """One kernel on its way: what was tried here and before, and what to try next."""

    kernel: Kernel
    target: Any
    records: Records
    most: float
    candidates: Iterator[Any]
    arguments: Sequence[Any]
    tried: int  # on record included
    best_s: float
    first_s: float = inf
    trials: int = 0
    failed: int = 0
    exhausted: bool = False

    @classmethod
    def of(cls, kernel: Kernel, target: Any, records: Records, most: float) -> "_Search":
        known, tried = records.best(kernel.key), records.tried(kernel.key)
        candidates = _candidates(kernel.module, target, tried=tried)
        return cls(kernel, target, records, most, candidates, (), tried, known.seconds if known else inf)

    def promise(self) -> float:
        """What a trial here may gain: the kernel's part of the run over what was tried; infinite before the first."""
        if self.exhausted or self.tried >= self.most:
            return 0.0
        return inf if self.tried == 0 else self.kernel.calls * min(self.best_s, 1.0) / self.tried

    def step(self, end_s: float) -> None:
        """Try one more schedule, and put it on record."""
        schedule = next(self.candidates, None)
        if schedule is None:
            self.exhausted = True
            return
        if not self.arguments:
            self.arguments = _arguments(self.kernel.module["main"])
        seconds = _measured_s(schedule, self.target, self.arguments, self.best_s, end_s)
        self.trials += 1
        self.tried += 1
        if seconds is None:
            self.failed += 1
            self.records.add(self.kernel.key, seconds=0.0)
            return
        if self.first_s == inf:
            self.first_s = seconds
        faster = seconds < self.best_s
        self.best_s = min(self.best_s, seconds)
        self.records.add(
            self.kernel.key, seconds=seconds, trace=_plain_json(schedule.trace.as_json()) if faster else None
        )


def _candidates(module: Any, target: Any, *, tried: int) -> Iterator[Any]:
    """Schedules of a kernel to try, in order; the first `tried` were tried before."""
    schedules = by_hand(module, target, most=_BY_HAND)
    if (first := next(schedules, None)) is not None:
        yield from islice(chain([first], schedules), tried, None)
    else:
        yield from _random(module, target, seed=tried + 1)


def _random(module: Any, target: Any, *, seed: int) -> Iterator[Any]:
    """Random points of MetaSchedule's space for CPUs; it ends where the space is empty or has one point only."""
    from tvm.s_tir import meta_schedule as ms

    with quiet():
        with _no_intrinsics():
            context = ms.TuneContext(
                module,
                target=target,
                space_generator=_space(ms),
                search_strategy="replay-trace",
                rand_state=seed,
                num_threads=1,
            )
        context.pre_tuning(max_trials=1 << 16, num_trials_per_iter=4)
        try:
            while batch := context.generate_measure_candidates():
                yield from (candidate.sch for candidate in batch)
                results = [ms.runner.RunnerResult([1.0], None) for _ in batch]
                context.notify_runner_results(batch, results)
        finally:
            context.post_tuning()


@contextmanager
def _no_intrinsics() -> Iterator[None]:
    """Keeps a TuneContext from loading every processor's tensor intrinsics, which takes 20 s and is of no use here."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


def _space(ms: Any) -> Any:
    """MetaSchedule's space without its tensor intrinsics: with them a convolution's takes a minute."""
    rules = ms.schedule_rule
    return ms.space_generator.PostOrderApply(
        sch_rules=[
            rules.InlineConstantScalars(),
            rules.AutoInline(
                into_producer=False,
                into_consumer=True,
                inline_const_tensor=True,
                disallow_if_then_else=True,
                require_injective=True,
                require_ordered=True,
                disallow_op=["tirx.exp"],
            ),
            rules.MultiLevelTiling(
                structure="SSRSRS",
                max_innermost_factor=64,
                reuse_write=rules.ReuseType(req="may", levels=[1, 2], scope="global"),
            ),
            rules.ParallelizeVectorizeUnroll(
                max_jobs_per_core=16, max_vectorize_extent=64, unroll_max_steps=[0, 16, 64], unroll_explicit=True
            ),
            rules.RandomComputeLocation(),
        ],
        postprocs=ms.postproc.Postproc.create("llvm"),
        mutator_probs={},
    )


def _measured_s(schedule: Any, target: Any, arguments: Sequence[Any], best_s: float, end_s: float) -> float | None:
    """The fastest of some runs, None where the schedule doesn't compile or run."""
    try:
        with quiet():
            kernel = tvm().compile(schedule.mod, target=target)["main"]
        kernel(*arguments)
        fastest, until_s = inf, time.monotonic() + _SAMPLE_S
        for run in range(50):
            started_s = time.perf_counter()
            kernel(*arguments)
            fastest = min(fastest, time.perf_counter() - started_s)
            if time.monotonic() > min(until_s, end_s) or (run == 1 and fastest > _HOPELESS * best_s):
                break
        return fastest
    except Exception:  # a schedule that LLVM refuses is one trial lost, no more
        return None


def _arguments(function: Any) -> list[Any]:
    """Tensors for a kernel: random numbers between 0 and 1, zeros for integers, which may be indices."""
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    random = np.random.default_rng(0)
    made = []
    for info in ArgInfo.from_prim_func(function):
        shape, dtype = [int(dim) for dim in info.shape], str(info.dtype)
        values = random.random(shape) if dtype.startswith("float") else np.zeros(shape)
        made.append(tvm().runtime.tensor(values.astype(dtype)))
    return made


def _plain_json(value: Any) -> Any:
    """TVM's own containers as Python's."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain_json(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [_plain_json(part) for part in value]
    number = getattr(value, "value", value)  # an immediate of TVM's
    return float(number) if isinstance(number, float) else int(number)


def _figures(searches: Sequence[_Search], tuning_s: float) -> Tuned:
    def total_s(seconds: Callable[[_Search], float]) -> float:
        return sum(search.kernel.calls * seconds(search) for search in searches if search.best_s < inf)

    return Tuned(
        kernels=len(searches),
        trials=sum(search.trials for search in searches),
        failed=sum(search.failed for search in searches),
        before_s=total_s(lambda search: search.best_s if search.first_s == inf else search.first_s),
        after_s=total_s(lambda search: search.best_s),
        tuning_s=tuning_s,
    )
