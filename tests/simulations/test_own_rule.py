"""A user's own rule in the live control core: it is asked, it is obeyed, and what is wrong with it is named."""

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from simulations.errors import SimulationsError
from simulations.own_rule import read_rule
from simulations.results import Outcome
from simulations.scenario_file import parse_scenario
from simulations.world import World
from tests.simulations.scenarios import plain

RULES = """
from __future__ import annotations
from dataclasses import dataclass
from policies.rebalance import Keep, Switch, rebalance

def loyal(*, current, others, allowed_in_s, min_gain):
    return Keep("never leaves")

def usual(**asked):
    return rebalance(**asked)

@dataclass
class Kept:
    gain: float

def broken(**asked):
    raise ZeroDivisionError("no gain")

def vague(**asked):
    return "stay"

def elsewhere(**asked):
    return Switch(1.0, "nowhere")

NUMBER = 3
"""
SLOWED = {"timeline": [{"at_s": 10.0, "link": ["west", "mec"], "mbps": 1.0}], "duration_s": 30.0}


def ran(folder: Path, rule: str | None) -> Outcome:
    """What comes of a backhaul that gets slow, decided by one of RULES."""
    (folder / "rules.py").write_text(RULES)
    policy = {"kind": "adaptive"} if rule is None else {"kind": "adaptive", "rule": f"rules.py:{rule}"}
    return World(parse_scenario(plain(**SLOWED, policy=policy), where="test.yaml", folder=folder), 0).run()


def test_a_rule_that_never_leaves_never_switches_and_the_core_s_own_does(tmp_path: Path) -> None:
    usual, loyal = ran(tmp_path, None), ran(tmp_path, "loyal")
    assert usual.figures["switches"] > 0 == loyal.figures["switches"]
    assert usual.figures["latency_mean_s"] < loyal.figures["latency_mean_s"]


def test_the_usual_rule_given_as_one_s_own_comes_to_the_same(tmp_path: Path) -> None:
    assert repr(ran(tmp_path, "usual")) == repr(ran(tmp_path, None))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("broken", r"policy\.rule: rules\.py:broken: ZeroDivisionError: no gain, line 17 \(at .* of detect@west\)"),
        ("vague", r"rules\.py:vague answered 'stay'; it wants Keep, or Switch"),
        ("elsewhere", r"rules\.py:elsewhere answered Switch\(.*'nowhere'"),
    ],
)
def test_a_rule_that_raises_or_answers_nonsense_is_named(tmp_path: Path, rule: str, says: str) -> None:
    with pytest.raises(SimulationsError, match=says) as refused:
        ran(tmp_path, rule)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("rules.py", "no FILE.py:FUNCTION"),
        ("rules:loyal", "no FILE.py:FUNCTION"),
        ("rules.py:", "no FILE.py:FUNCTION"),
        ("gone.py:loyal", "gone.py: no such file"),
        ("rules.py:royal", "has no function 'royal'"),
        ("rules.py:NUMBER", "has no function 'NUMBER'"),
        ("torn.py:loyal", "torn.py: SyntaxError"),
        ("torn.py:loyal", "test.yaml: policy.rule: "),
    ],
)
def test_what_is_no_rule_is_refused_before_anything_runs(tmp_path: Path, named: str, says: str) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    (tmp_path / "torn.py").write_text("def loyal(:\n")
    with pytest.raises(SpecError) as refused:
        parse_scenario(plain(policy={"rule": named}), where="test.yaml", folder=tmp_path)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_checked_rule_is_told_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "from policies.rebalance import Keep\ndef tell(**asked): return Keep(str(sorted(asked)))\n"
    )
    found = read_rule("rules.py:tell", tmp_path)(current=None, others=(), allowed_in_s=0.0, min_gain=0.1)  # type: ignore[arg-type]
    assert found.reason == "['allowed_in_s', 'current', 'min_gain', 'others']"
