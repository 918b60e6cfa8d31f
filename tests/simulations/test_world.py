"""Claims about whole replications: nothing is lost, nobody is left waiting, and the same seed gives the same."""

from dataclasses import asdict

import pytest

from orchestrator.control import Control
from orchestrator.events import Event
from simulations.errors import SimulationsError
from simulations.results import Outcome
from simulations.scenario import Scenario
from simulations.world import Row, World
from tests.simulations.scenarios import TWO_CELLS, plain, scenario, users

WALKING = {"kind": "waypoints", "area_m": [-100.0, -50.0, 400.0, 50.0], "speeds_mps": [20.0, 30.0]}


def ran(told: Scenario) -> tuple[World, Outcome, list[Row]]:
    """A replication with all of its requests' rows."""
    world, rows = World(told, 0), list[Row]()
    world.on_row = rows.append
    return world, world.run(), rows


def switches(outcome: Outcome) -> list[str]:
    return [note.why for note in outcome.notes if note.what == "switch" and note.at_s > 0]


def test_every_request_ends_once_and_its_hops_add_up() -> None:
    world, outcome, rows = ran(scenario())
    in_hand = sum(len(user.in_hand) for user in world.users)
    assert len(rows) + in_hand == outcome.requests > 300
    for row in rows:
        assert not row[4]
        assert sum(row[6:10]) == pytest.approx(row[3], abs=1e-9)


def test_the_same_seed_gives_the_same_and_another_replication_does_not() -> None:
    told = scenario(timeline=[{"at_s": 8.0, "node": "mec", "is": "down"}], duration_s=12.0)
    one, other = (World(told, 0).run() for _ in range(2))
    assert asdict(one) == asdict(other)
    assert World(told, 1).run().figures["latency_mean_s"] != one.figures["latency_mean_s"]


def test_a_machine_that_dies_loses_no_request_and_is_used_again_when_it_is_back() -> None:
    timeline = [{"at_s": 5.0, "node": "mec", "is": "down"}, {"at_s": 12.0, "node": "mec", "is": "up"}]
    world, outcome, rows = ran(scenario(timeline=timeline, duration_s=40.0, users=[users("w", 20, per_s=5.0)]))
    assert not [row for row in rows if row[4]]
    assert max(row[11] for row in rows) > 1  # some were with it, and were sent again
    assert any("is gone" in why for why in switches(outcome))
    served = [row for row in rows if row[2] > 25]
    assert served and world.posts.shells[0, 0].plan.stages[-1].node == "mec"


def test_a_cut_wire_is_noticed_and_its_requests_are_answered_elsewhere() -> None:
    timeline = [
        {"at_s": 5.0, "link": ["west", "mec"], "is": "down"},
        {"at_s": 15.0, "link": ["west", "mec"], "is": "up"},
    ]
    _, _, rows = ran(scenario(timeline=timeline, duration_s=30.0, users=[users("w", 30, per_s=4.0)]))
    assert not [row for row in rows if row[4]]
    slow = [row[3] for row in rows if row[3] > 1]
    assert slow and max(slow) < 6.0  # SILENT_S, and what it takes to be sent again


def test_a_slow_backhaul_moves_the_plan_and_a_static_policy_does_not() -> None:
    timeline = [{"at_s": 10.0, "link": ["west", "mec"], "mbps": 1.0}]
    adaptive, static = (
        ran(scenario(timeline=timeline, duration_s=40.0, policy={"kind": kind}))[1] for kind in ("adaptive", "static")
    )
    assert switches(adaptive) and not switches(static)
    assert adaptive.figures["latency_p99_s"] < static.figures["latency_p99_s"]


@pytest.mark.parametrize(("kind", "node"), [("device", "phone"), ("edge", "mec"), ("cloud", "cloud")])
def test_a_policy_of_one_tier_runs_everything_there(kind: str, node: str) -> None:
    world, _, _ = ran(scenario(policy={"kind": kind}, duration_s=2.0))
    assert {stage.node for stage in world.posts.shells[0, 0].plan.stages} == {node}


def test_users_who_walk_to_another_cell_are_served_there() -> None:
    world, outcome, rows = ran(scenario(**TWO_CELLS, users=[users("w", 20, moving=WALKING)], duration_s=30.0))
    assert outcome.figures["handovers"] > 5
    assert not [row for row in rows if row[4]]
    for user in world.users:
        at = world.air.cell_of[user.number]
        assert user.post is world.posts.post(at, user)
    assert {row[5] // 1_000_000 for row in rows} == {0, 1}  # epochs of both cells' deployments


def test_requests_nobody_can_answer_in_time_fail_at_the_end_of_their_budget() -> None:
    slow = users("w", 10, per_s=20.0, budget_ms=400.0)
    _, outcome, rows = ran(scenario(users=[slow], policy={"kind": "device"}, duration_s=6.0))
    late = [row[3] for row in rows if row[4]]
    assert late and all(row[4] in ("", "timeout") for row in rows)
    assert max(late) < 0.4 + 0.051
    assert any("their own device" in line for line in outcome.overloads)


def test_what_is_overloaded_is_said_before() -> None:
    assert not ran(scenario(duration_s=1.0))[1].overloads
    many = scenario(duration_s=1.0, users=[users("w", 10, per_s=40.0)], policy={"kind": "edge"})
    assert any(line.startswith("node mec: ρ = 2.00") for line in ran(many)[1].overloads)


def test_more_is_asked_from_the_moment_a_change_says() -> None:
    timeline = [{"at_s": 10.0, "users": "walkers", "ask_times": 4.0}]
    _, _, rows = ran(scenario(timeline=timeline))
    before, after = (sum(from_s <= row[2] < from_s + 10 for row in rows) for from_s in (0, 10))
    assert 3.0 < after / before < 5.2


def test_the_warm_up_is_simulated_but_not_counted() -> None:
    _, outcome, rows = ran(scenario(warmup_s=10.0))
    assert outcome.figures["asked"] == pytest.approx(sum(row[2] >= 10 for row in rows), abs=10)
    assert outcome.requests > 1.5 * outcome.figures["asked"]


def test_a_policy_that_raises_is_named_with_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Control, event: Event, now_s: float) -> tuple[()]:
        raise ZeroDivisionError("no gain")

    monkeypatch.setattr(Control, "handle", broken)
    with pytest.raises(SimulationsError, match=r"policy: .*DeployRequested of detect@west: ZeroDivisionError: no gain"):
        World(scenario(), 0).run()


def test_energy_is_what_was_drawn_while_it_was_drawn() -> None:
    world, outcome, _ = ran(scenario())
    mec = world.machines["mec"].held
    assert outcome.figures["mec_j"] == pytest.approx(60 * 20 + 90 * mec.busy_s / 2, rel=1e-9)
    busy_s = sum(queue.held.busy_s for queue in world.fabric.devices.values())
    assert outcome.figures["ue_j"] == pytest.approx(0.5 * 20 * 10 + 2.5 * busy_s + world.air.spent_j, rel=1e-9)
    assert world.air.spent_j > 0


@pytest.mark.parametrize("objective", ["energy", "cost"])
def test_plans_may_be_for_energy_or_money(objective: str) -> None:
    pipelines = [{**plain()["pipelines"][0], "objective": objective}]
    world, _, rows = ran(scenario(pipelines=pipelines, duration_s=3.0))
    plan = world.posts.shells[0, 0].plan
    assert plan.certificate is not None and plan.certificate.objective == objective
    assert rows and not [row for row in rows if row[4]]
