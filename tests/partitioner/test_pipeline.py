"""The fastest pipeline against every pipeline there is, on small random instances."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partitioner.errors import InvalidProblem
from partitioner.instances import read_instance
from partitioner.pipelines import Piece, PipelineInstance, Pool, faults, largest_load_s, load_s
from partitioner.search.pipeline import NoPipeline, PipelineAnswer, fastest_pipeline

pytestmark = pytest.mark.slow  # compiling takes ten seconds on a machine that hasn't yet
Taken = tuple[int, ...]  # devices of each pool


def every_load_s(instance: PipelineInstance) -> Iterator[float]:
    """The largest load of every chain of pieces that breaks no rule."""
    yield from chains_from(instance, frozenset(), (0,) * len(instance.pools), 0.0)


def chains_from(instance: PipelineInstance, done: frozenset[int], taken: Taken, so_far_s: float) -> Iterator[float]:
    left = sorted(set(range(len(instance.operators))) - done)
    if not left:
        yield so_far_s
        return
    for size in range(1, len(left) + 1):
        for members in combinations(left, size):
            inside = done | set(members)
            cut_off = any(b in inside and a not in inside for a, b in instance.reads)
            torn = any(0 < len(inside & set(group)) < len(group) for group in instance.together)
            if cut_off or torn:
                continue
            for piece, after in hosts(instance, members, taken):
                worst_s = max(so_far_s, load_s(instance, piece))
                if worst_s < inf:
                    yield from chains_from(instance, inside, after, worst_s)


def hosts(instance: PipelineInstance, members: tuple[int, ...], taken: Taken) -> Iterator[tuple[Piece, Taken]]:
    nbytes = sum(instance.nbytes[member] for member in members)
    for number, pool in enumerate(instance.pools):
        for replicas in range(1, instance.most_replicas + 1):
            if nbytes <= pool.memory_bytes and taken[number] + replicas <= pool.count:
                devices = tuple(range(taken[number], taken[number] + replicas))
                after = (*taken[:number], taken[number] + replicas, *taken[number + 1 :])
                yield Piece(pool=number, replicas=devices, operators=members), after


@st.composite
def instances(draw: st.DrawFn) -> PipelineInstance:
    count = draw(st.integers(1, 5))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    reads = tuple(pair for pair in pairs if draw(st.booleans()))
    row = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5, 5.0]), min_size=count, max_size=count)
    fast = [inf if draw(st.integers(0, 9)) == 0 else seconds for seconds in draw(row)]
    memory = draw(st.sampled_from([inf, inf, 4.0, 7.0]))
    group = (
        draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2)) if count > 1 and draw(st.booleans()) else ()
    )
    return PipelineInstance(
        name="drawn",
        operators=tuple(map(str, range(count))),
        reads=reads,
        transfer_s=tuple(draw(row)),
        nbytes=tuple(draw(row)),
        pools=(
            Pool(name="acc", count=draw(st.integers(0, 3)), seconds=tuple(fast), memory_bytes=memory),
            Pool(
                name="cpu", count=draw(st.integers(0, 2)), seconds=tuple(draw(row)), pays_transfers=draw(st.booleans())
            ),
        ),
        together=(tuple(sorted(group)),) if group else (),
        overlapped=draw(st.booleans()),
        most_replicas=draw(st.integers(1, 2)),
    )


@given(instances())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_pipeline_is_faster_than_the_answer(instance: PipelineInstance) -> None:
    known_s = min(every_load_s(instance), default=inf)
    answer = fastest_pipeline(instance)
    if known_s == inf:
        assert isinstance(answer, NoPipeline)
        return
    assert isinstance(answer, PipelineAnswer), answer
    assert list(faults(instance, answer.pieces)) == []
    assert answer.largest_load_s == pytest.approx(known_s, rel=1e-9)
    assert answer.is_optimal
    assert answer.lower_bound_s <= known_s * (1 + 1e-9)


@given(instances())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_where_ideals_are_too_many_the_gap_is_true(instance: PipelineInstance) -> None:
    known_s = min(every_load_s(instance), default=inf)
    answer = fastest_pipeline(instance, most_ideals=1)
    if isinstance(answer, PipelineAnswer):
        assert list(faults(instance, answer.pieces)) == []
        assert answer.lower_bound_s <= known_s * (1 + 1e-9) <= answer.largest_load_s * (1 + 1e-8)
        assert answer.is_optimal == (answer.lower_bound_s >= answer.largest_load_s * (1 - 1e-9))


def line(*seconds: float, count: int = 2, transfer_s: float = 0.0) -> PipelineInstance:
    """Operators one after the other, on `count` equal devices."""
    size = len(seconds)
    return PipelineInstance(
        name="line",
        operators=tuple("abcdefgh"[:size]),
        reads=tuple((n, n + 1) for n in range(size - 1)),
        transfer_s=(transfer_s,) * size,
        nbytes=(1.0,) * size,
        pools=(Pool(name="acc", count=count, seconds=seconds),),
    )


def answered(instance: PipelineInstance) -> PipelineAnswer:
    answer = fastest_pipeline(instance)
    assert isinstance(answer, PipelineAnswer), answer
    return answer


def weighed(reads: tuple[tuple[int, int], ...], transfer_s: tuple[float, ...], **changes: object) -> PipelineInstance:
    """The operators before the last two are weights: they take no time and read nothing."""
    free = len(transfer_s) - 2
    instance = PipelineInstance(
        name="weighed",
        operators=tuple(map(str, range(free + 2))),
        reads=reads,
        transfer_s=transfer_s,
        nbytes=(5.0,) * free + (4.0, 4.0),
        pools=(Pool(name="acc", count=3, seconds=(0.0,) * free + (1.0, 1.0)),),
    )
    return replace(instance, **changes)  # type: ignore[arg-type]


def test_a_weight_stands_with_its_first_reader() -> None:
    answer = answered(weighed(((0, 1), (0, 2), (1, 2)), (0.5, 0.25, 0.0)))
    assert [piece.operators for piece in answer.pieces] == [(0, 1), (2,)]
    assert answer.largest_load_s == 1.75  # both devices pay for a's and b's results
    assert answered(weighed(((0, 2),), (0.5, 0.0, 0.0))).largest_load_s == 1.0


def test_a_weight_stands_elsewhere_if_its_readers_device_is_full() -> None:
    full = Pool(name="acc", count=3, seconds=(0.0, 1.0, 1.0), memory_bytes=6.0)
    answer = answered(weighed(((0, 1),), (0.5, 0.0, 0.0), pools=(full,)))
    assert answer.largest_load_s == 1.5
    assert list(faults(weighed(((0, 1),), (0.5, 0.0, 0.0), pools=(full,)), answer.pieces)) == []


def test_many_weights_that_fit_with_their_readers_need_no_search_of_their_own() -> None:
    many = 30  # as elements they would make a billion ideals
    reads = (*((weight, many) for weight in range(many)), (many, many + 1))
    pool = Pool(name="acc", count=2, seconds=(0.0,) * many + (1.0, 1.0), memory_bytes=155.0)  # 158 in all
    answer = answered(weighed(reads, (0.5,) * (many + 2), pools=(pool,)))
    assert answer.is_optimal
    assert answer.largest_load_s == 1.5
    tight = replace(pool, memory_bytes=149.0)  # one weight has to stand elsewhere, and there are too many ideals
    crowded = answered(weighed(reads, (0.5,) * (many + 2), pools=(replace(tight, count=3),)))
    assert crowded.lower_bound_s == 1.5 <= crowded.largest_load_s
    assert not crowded.is_optimal


def test_weights_that_belong_together_are_not_parted_by_their_readers() -> None:
    apart = weighed(((0, 2), (1, 3)), (100.0, 100.0, 0.0, 0.0))
    assert answered(apart).largest_load_s == 1.0
    assert answered(replace(apart, together=((0, 1),))).largest_load_s == 2.0


def test_a_replicated_piece_takes_its_share_of_the_requests() -> None:
    two = replace(line(1.0, 4.0, count=3), most_replicas=2)
    assert answered(line(1.0, 4.0, count=3)).largest_load_s == 4.0
    assert answered(two).largest_load_s == 2.0
    assert [len(piece.replicas) for piece in answered(two).pieces] == [1, 2]


def test_transfers_that_overlap_cost_only_what_compute_does_not_hide() -> None:
    serial = line(3.0, 3.0, transfer_s=2.0)
    assert answered(serial).largest_load_s == 5.0
    assert answered(replace(serial, overlapped=True)).largest_load_s == 3.0


def test_what_cannot_be_is_named() -> None:
    alone = replace(line(1.0), pools=(Pool(name="acc", count=1, seconds=(inf,)),))
    full = replace(line(1.0, 1.0), pools=(Pool(name="acc", count=1, seconds=(1.0, 1.0), memory_bytes=1.5),))
    refused = [fastest_pipeline(one) for one in (alone, full)]
    assert [one.constraint for one in refused if isinstance(one, NoPipeline)] == ["operators", "memory"]
    with pytest.raises(InvalidProblem, match="circle: a → b"):
        fastest_pipeline(replace(line(1.0, 1.0), reads=((0, 1), (1, 0))))
    many = tuple(Pool(name=f"p{number}", count=9, seconds=(1.0,)) for number in range(6))
    with pytest.raises(InvalidProblem, match="1,000,000 ways, 20,000 at most are searched; put equal devices"):
        fastest_pipeline(replace(line(1.0), pools=many))


def told(**changes: object) -> str:
    node = {"cpuLatency": 10.0, "fpgaLatency": 1.0, "size": 5.0, "supportedOnFpga": 1, "isBackwardNode": 0}
    nodes = [node | {"id": number, "colorClass": color} for number, color in ((7, 1), (8, 2), (9, 1))]
    edges = [{"sourceId": 7, "destId": 8, "cost": 0.5}, {"sourceId": 8, "destId": 9, "cost": 0.25}]
    return json.dumps({"maxSizePerFPGA": 100.0, "maxFPGAs": 2, "maxCPUs": 1, "nodes": nodes, "edges": edges} | changes)


def test_a_published_instance_is_read_and_its_colours_hold_what_lies_between() -> None:
    instance = read_instance(told(), "three")
    answer = answered(instance)
    assert [len(piece.operators) for piece in answer.pieces] == [3]
    assert answer.largest_load_s == largest_load_s(instance, answer.pieces) == 3.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "bad: not JSON"),
        ("[]", "bad: not an instance"),
        ("{}", "bad: key 'nodes' is missing"),
        (told(maxFPGAs=None), "bad: not an instance"),
        (told(edges=[{"sourceId": 7, "destId": 1, "cost": 0}]), "bad: an edge names node 1, which is not there"),
        (told(edges=[{"sourceId": 7, "destId": 8, "cost": -1}]), "bad: the edge 7 → 8 costs -1"),
        (told(nodes=[{"id": 1, "isBackwardNode": 1}]), "bad: has backward nodes"),
    ],
)
def test_a_malformed_instance_is_refused_in_one_line(text: str, fault: str) -> None:
    with pytest.raises(InvalidProblem, match=fault) as refused:
        read_instance(text, "bad")
    assert "\n" not in str(refused.value)
