"""Scenarios for tests: small, made from a few words, all of their randomness from the seed."""

from pathlib import Path
from typing import Any

from simulations.scenario import Scenario
from simulations.scenario_file import parse_scenario

STEPS = [
    {"name": "stem", "ms": {"phone": 20.0, "server": 2.0}, "out_kb": 20.0, "weights_mb": 1.0},
    {"name": "body", "ms": {"phone": 80.0, "server": 6.0}, "out_kb": 10.0, "weights_mb": 10.0},
    {"name": "head", "ms": {"phone": 20.0, "server": 2.0}, "out_kb": 1.0, "weights_mb": 2.0},
]
STANDING = {"kind": "standing", "area_m": [-60.0, -60.0, 60.0, 60.0]}


def plain(**changes: Any) -> dict[str, Any]:
    """One cell of 100 MHz with a server behind it and a cloud behind that, ten users near the mast; as YAML has it."""
    return {
        "name": "test",
        "duration_s": 20.0,
        "replications": 1,
        "cells": [{"name": "west", "band": {"ghz": 3.5, "mhz": 100}}],
        "nodes": [
            {"name": "phone", "tier": "device", "like": "phone", "idle_w": 0.5, "active_w": 3.0},
            {"name": "mec", "tier": "edge", "like": "server", "servers": 2, "idle_w": 60.0, "active_w": 150.0},
            {"name": "cloud", "tier": "cloud", "like": "server", "speed": 2.0, "servers": 8},
        ],
        "links": [
            {"between": ["west", "mec"], "mbps": 1000.0, "rtt_ms": 1.0},
            {"between": ["mec", "cloud"], "mbps": 10_000.0, "rtt_ms": 20.0},
        ],
        "pipelines": [{"name": "detect", "input_kb": 30.0, "steps": STEPS}],
        "users": [users("walkers", 10)],
    } | changes


def users(name: str, count: int, *, per_s: float = 2.0, **changes: Any) -> dict[str, Any]:
    """A group that asks by chance."""
    return {
        "name": name,
        "count": count,
        "device": "phone",
        "pipeline": "detect",
        "moving": STANDING,
        "asking": {"kind": "poisson", "per_s": per_s},
        "deadline_ms": 200.0,
    } | changes


def scenario(**changes: Any) -> Scenario:
    """`plain` with changes, read."""
    return parse_scenario(plain(**changes), where="test.yaml", folder=Path())


TWO_CELLS: dict[str, Any] = {
    "cells": [
        {"name": "west", "at_m": [0.0, 0.0], "band": {"ghz": 3.5, "mhz": 100}},
        {"name": "east", "at_m": [300.0, 0.0], "band": {"ghz": 3.5, "mhz": 100}},
    ],
    "nodes": [
        *plain()["nodes"],
        {"name": "mec2", "tier": "edge", "like": "server", "servers": 2},
    ],
    "links": [
        *plain()["links"],
        {"between": ["east", "mec2"], "mbps": 1000.0, "rtt_ms": 1.0},
        {"between": ["mec2", "cloud"], "mbps": 10_000.0, "rtt_ms": 20.0},
    ],
}
