"""The settings of each engine that may be tuned, with the values worth trying; the first of each is the default.

Precision is no knob, and neither is how MNN stores weights: they change answers. Codecs are none, for the planner
chooses them together with the cuts, by what each was measured to take, save and spoil. Batches are chosen from their
measured curve (batches.py), not tried one by one.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from math import log2

from nodes.backend import Option

Setting = tuple[tuple[str, Option], ...]  # (knob, value), in the order of the knobs; only those that are not defaults

THREADS = "threads"  # a knob of every engine here: as many as the node has, or fewer
KNOBS: Mapping[str, Mapping[str, tuple[Option, ...]]] = {
    "onnxruntime": {
        "level": ("all", "extended", "basic"),
        "spinning": (False, True),
        "io_binding": (False, True),
    },
    "openvino": {
        "mode": ("latency", "throughput"),
        "streams": (1, 2),
    },
    "mnn": {},
    "tvm": {"trials": (0, 16, 64)},
}
# What a node keeps from trying these serves all that it compiles later: a stage need not be told of them.
LASTING: Mapping[str, frozenset[str]] = {"tvm": frozenset({"trials"})}


def knobs(backend: str, threads: int = 1) -> Mapping[str, tuple[Option, ...]]:
    """The knobs of a backend on a node with so many threads."""
    own = KNOBS.get(backend)
    if own is None or threads == 1:
        return own or {}
    return {**own, THREADS: tuple(threads >> times for times in range(threads.bit_length()))}


def settings(backend: str, threads: int = 1) -> tuple[Setting, ...]:
    """Every setting of a backend, its default () first; only that for one without knobs.

    What lasts is tried alone: kernels that were tuned under fewer threads would be slower with all.
    """
    choices = knobs(backend, threads)
    every = (
        setting_of(backend, dict(zip(choices, values, strict=True)), threads) for values in product(*choices.values())
    )
    return tuple(setting for setting in every if kept(backend, setting) in (setting, ()))


def setting_of(backend: str, chosen: Mapping[str, Option], threads: int = 1) -> Setting:
    """The setting that a value for each knob means."""
    return tuple((name, chosen[name]) for name, values in knobs(backend, threads).items() if chosen[name] != values[0])


def values_of(backend: str, setting: Setting, threads: int = 1) -> dict[str, Option]:
    """The value of each knob under a setting."""
    return {name: values[0] for name, values in knobs(backend, threads).items()} | dict(setting)


def features_of(backend: str, setting: Setting, threads: int) -> list[float]:
    """A setting as numbers: one per value that is not its knob's default, and how often the threads were halved."""
    chosen = dict(setting)
    own = [
        float(name in chosen and chosen[name] == value)
        for name, values in KNOBS.get(backend, {}).items()
        for value in values[1:]
    ]
    return [*own, log2(threads / int(chosen.get(THREADS, threads)))] if backend in KNOBS else own


def kept(backend: str, setting: Setting) -> Setting:
    """What of a setting a stage must be compiled with; the rest was done once and lasts."""
    return tuple(pair for pair in setting if pair[0] not in LASTING.get(backend, ()))


def lasting(backend: str, tried: Sequence[Setting]) -> Setting:
    """What of the settings that were tried a node keeps: of each such knob the value that did the most."""
    names = sorted(LASTING.get(backend, ()))
    given = {name: {dict(setting).get(name) for setting in tried} for name in names}
    done = {name: [value for value in KNOBS[backend][name] if value in given[name]] for name in names}
    return tuple((name, values[-1]) for name, values in done.items() if values)


def to_try(backend: str, setting: Setting, left_s: float) -> dict[str, Option]:
    """The options that try a setting, within what is left of the time where its work would take longer."""
    options = dict(setting)
    return options if kept(backend, setting) == setting else options | {"budget_s": max(left_s, 1.0)}
