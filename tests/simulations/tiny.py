"""A scenario of a few seconds, sound unless a test asks otherwise: one cell, two groups, an edge site and a cloud."""

from pathlib import Path
from typing import Any

import yaml

from simulations.scenario import Scenario
from simulations.scenario_file import parse_scenario

WAVERING = {"mean_mbps": 20, "variation": 0.3, "memory_s": 2}
TRACED = {"name": "mast", "trace": {"up": WAVERING, "down": WAVERING}}
ADAPTIVE = {"kind": "adaptive"}
RADIO = {"name": "mast", "band": {"ghz": 3.5, "mhz": 40}}


def tiny_yaml(**changed: Any) -> dict[str, Any]:
    """What its YAML file holds; `changed` replaces or adds keys."""
    return {
        "name": "tiny",
        "about": "Two cameras and a phone.",
        "duration_s": 5,
        "warmup_s": 1,
        "replications": 3,
        "cells": [TRACED],
        "nodes": [
            {"name": "phone", "tier": "device", "like": "phone", "idle_w": 0.5, "active_w": 3},
            {"name": "mec", "tier": "edge", "like": "server", "servers": 2, "idle_w": 60, "active_w": 150},
            {"name": "cloud", "tier": "cloud", "like": "server", "speed": 2, "usd_per_hour": 1},
        ],
        "links": [
            {"between": ["mast", "mec"], "mbps": 1000, "rtt_ms": 1},
            {"between": ["mec", "cloud"], "mbps": 10000, "rtt_ms": 20},
        ],
        "pipelines": [
            {
                "name": "detect",
                "input_kb": 40,
                "steps": [
                    {"name": "stem", "ms": {"phone": 20, "server": 2}, "out_kb": 30},
                    {"name": "head", "ms": {"phone": 60, "server": 6}, "out_kb": 1},
                ],
            }
        ],
        "users": [group("cameras", 2), group("phones", 1)],
        "policy": {"kind": "static"},  # drawing maps of plans takes most of the time otherwise
        **changed,
    }


def group(name: str, count: int, **changed: Any) -> dict[str, Any]:
    """A group of users who stand about and ask four times a second."""
    return {
        "name": name,
        "count": count,
        "device": "phone",
        "pipeline": "detect",
        "moving": {"kind": "standing", "area_m": [-80, -80, 80, 80]},
        "asking": {"kind": "poisson", "per_s": 4},
        "deadline_ms": 60,
        **changed,
    }


def tiny(**changed: Any) -> Scenario:
    """The scenario that it means."""
    return parse_scenario(tiny_yaml(**changed), where="tiny", folder=Path())


def tiny_file(folder: Path, name: str = "tiny.yaml", **changed: Any) -> Path:
    """Its file."""
    path = folder / name
    path.write_text(yaml.safe_dump(tiny_yaml(**changed)))
    return path
