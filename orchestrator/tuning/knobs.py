"""The settings of each engine that may be tuned, with the values worth trying; the first of each is the default.

Precision is no knob: it changes answers. Threads are the topology's to say.
"""

from collections.abc import Mapping
from itertools import product

from nodes.backend import Option

Setting = tuple[tuple[str, Option], ...]  # (knob, value), in the order of the knobs; only those that are not defaults

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
}


def settings(backend: str) -> tuple[Setting, ...]:
    """Every setting of a backend, its default () first; only that for one without knobs."""
    knobs = KNOBS.get(backend, {})
    return tuple(setting_of(backend, dict(zip(knobs, values, strict=True))) for values in product(*knobs.values()))


def setting_of(backend: str, chosen: Mapping[str, Option]) -> Setting:
    """The setting that a value for each knob means."""
    knobs = KNOBS.get(backend, {})
    return tuple((name, chosen[name]) for name, values in knobs.items() if chosen[name] != values[0])


def values_of(backend: str, setting: Setting) -> dict[str, Option]:
    """The value of each knob under a setting."""
    return {name: values[0] for name, values in KNOBS.get(backend, {}).items()} | dict(setting)
