"""When emulated links deliver: the pure clock without sleeping, then the shell on a real loop."""

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.emulation import LinkShaper
from nodes.errors import NodesError
from nodes.link_clock import LinkClock, Roads, ShapedLink
from tests.nodes.wires import run


def link(source: str, target: str, rate: float = 1000.0, propagation_s: float = 0.5) -> ShapedLink:
    return ShapedLink(source=source, target=target, bytes_per_s=rate, propagation_s=propagation_s)


def roads(*links: ShapedLink) -> Roads:
    made = Roads()
    made.shape(links, {}, 0.0)
    return made


def test_a_message_pays_its_bytes_and_the_propagation() -> None:
    assert LinkClock(1000.0, 0.5).send("m", 2000, 10.0) == 12.5


def test_messages_on_a_link_queue_for_bytes_but_not_for_propagation() -> None:
    clock = LinkClock(1000.0, 0.5)
    assert [clock.send(name, 1000, 0.0) for name in "abc"] == [1.5, 2.5, 3.5]


def test_nothing_arrives_early() -> None:
    clock = LinkClock(1000.0, 0.5)
    clock.send("m", 1000, 0.0)
    assert clock.due(1.49) == []
    assert clock.due(1.5) == [(1.5, "m")]
    assert clock.next_s() is None


def test_a_changed_rate_holds_for_the_bytes_that_have_not_left() -> None:
    clock = LinkClock(1000.0, 0.0)
    clock.send("a", 2000, 0.0)
    clock.send("b", 1000, 0.0)
    clock.change(500.0, 0.0, 1.0)  # half of a is gone: 1000 bytes remain for 2 s, then b takes 2 s
    assert clock.due(99.0) == [(3.0, "a"), (5.0, "b")]


def test_what_has_left_is_not_slowed() -> None:
    clock = LinkClock(1000.0, 5.0)
    clock.send("a", 1000, 0.0)
    clock.change(1.0, 5.0, 2.0)
    assert clock.due(6.0) == [(6.0, "a")]


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 2)), min_size=1, max_size=20), st.floats(100, 1e5))
def test_a_link_delivers_in_order_and_never_above_its_rate(sent: list[tuple[int, float]], rate: float) -> None:
    clock, now_s = LinkClock(rate, 0.25), 0.0
    for number, (nbytes, gap_s) in enumerate(sent):
        now_s += gap_s
        clock.send(number, nbytes, now_s)
    arrived = clock.due(float("inf"))
    assert [item for _, item in arrived] == list(range(len(sent)))
    assert arrived[-1][0] >= sum(nbytes for nbytes, _ in sent) / rate + 0.25 - 1e-6


def test_a_path_is_paid_link_by_link() -> None:
    made = Roads()
    path = (("a", "b"), ("b", "c"))
    made.shape([link("a", "b"), link("b", "c", rate=500.0)], {("a", "c"): path}, 0.0)
    made.send("m", made.path("a", "c"), 1000, 0.0)
    assert made.due(3.99) == []
    assert made.due(4.0) == ["m"]  # 1 + 0.5, then 2 + 0.5


def test_lateness_of_the_timer_does_not_add_up() -> None:
    made = Roads()
    made.shape([link("a", "b"), link("b", "c")], {("a", "c"): (("a", "b"), ("b", "c"))}, 0.0)
    made.send("m", made.path("a", "c"), 1000, 0.0)
    made.due(1.9)  # looked 0.4 s late at the first link's end
    assert made.due(3.0) == ["m"]


def test_control_messages_pass_what_waits() -> None:
    made = roads(link("a", "b"))
    made.send("tensors", (("a", "b"),), 10_000, 0.0)
    made.send_express("cancel", (("a", "b"),), 100, 0.0)
    assert made.due(0.6) == ["cancel"]


def test_a_path_over_an_unknown_link_is_refused() -> None:
    with pytest.raises(NodesError, match="b → c, which is not shaped"):
        Roads().shape([link("a", "b")], {("a", "c"): (("a", "b"), ("b", "c"))}, 0.0)


@pytest.mark.parametrize(("rate", "propagation_s"), [(0, 0), (-1, 0), (1, -1)])
def test_links_that_cannot_be_are_refused(rate: float, propagation_s: float) -> None:
    with pytest.raises(NodesError, match="a → b"):
        link("a", "b", rate, propagation_s)


def test_the_shell_delivers_when_the_links_would() -> None:
    async def scenario() -> None:
        shaper, loop = LinkShaper(), asyncio.get_running_loop()
        shaper.shape([link("a", "b", rate=1e6, propagation_s=0.01)], {})
        arrived: asyncio.Future[float] = loop.create_future()
        started_s = time.monotonic()
        shaper.send("a", "b", 20_000, lambda: arrived.set_result(time.monotonic() - started_s))
        took_s = await arrived
        shaper.close()
        assert took_s >= 0.03

    run(scenario)


def test_unshaped_pairs_are_not_delayed() -> None:
    delivered: list[str] = []
    deliver: Callable[[], None] = lambda: delivered.append("now")  # noqa: E731
    LinkShaper().send("a", "b", 10**9, deliver)
    assert delivered == ["now"]
