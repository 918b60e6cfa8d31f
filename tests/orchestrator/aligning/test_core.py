"""Alignment against an oracle that sees everything at once, and each rule by itself."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.aligning.core import WINDOW, Action, Alignment, Ask, Forget
from orchestrator.aligning.held import SET_BACK
from orchestrator.aligning.skew import sample
from orchestrator.aligning.terms import AlignTerms, Missing, Modality
from tests.orchestrator.aligning.oracle import Asked, Came, asked

LONG_S = 1e6
TICK = 1 / 64  # times are whole multiples, so that sums of them are exact
PLAIN = AlignTerms(modalities={"photo": Modality(), "sound": Modality(tolerance_s=8 * TICK)}, by=("photo",))

times = st.integers(0, 256).map(lambda ticks: ticks * TICK)
policies: st.SearchStrategy[Missing] = st.sampled_from(["wait", "without", "last"])


@st.composite
def all_terms(draw: st.DrawFn) -> AlignTerms:
    names = ("photo", "sound", "text")[: draw(st.integers(1, 3))]
    modalities = {
        name: Modality(
            tolerance_s=draw(st.integers(0, 16)) * TICK,
            lateness_s=draw(st.sampled_from([0, 8, 32])) * TICK,
            wait_s=LONG_S,
            missing=draw(policies),
            most=10_000,
        )
        for name in names
    }
    if draw(st.booleans()):
        by = draw(st.sets(st.sampled_from(names), min_size=1).map(sorted))
        return AlignTerms(modalities=modalities, by=tuple(by), under_way=10_000)
    every = draw(st.sampled_from([8, 16, 20]))
    window = every * draw(st.integers(1, 3))
    return AlignTerms(modalities=modalities, every_s=every * TICK, window_s=window * TICK, under_way=10_000)


@st.composite
def arrivals(draw: st.DrawFn, terms: AlignTerms) -> list[Came]:
    """Items out of order by no more than the terms allow, among those of each modality."""
    found = []
    for name, modality in terms.modalities.items():
        for captured_s in draw(st.lists(times, max_size=12)):
            late_s = draw(st.integers(0, round(modality.lateness_s / TICK))) * TICK
            found.append((captured_s + late_s, captured_s, name))
    order = sorted(found, key=lambda one: one[0])
    return [Came(number, name, captured_s) for number, (_, captured_s, name) in enumerate(order, 1)]


def ran(core: Alignment, came: list[Came]) -> list[Action]:
    done = [one for item in came for one in core.put(item.modality, item.number, item.captured_s, 0.0)]
    return done + core.end(0.0)


def as_asked(actions: list[Action]) -> list[Asked]:
    found = [one for one in actions if isinstance(one, Ask)]
    return [
        Asked(one.asker, one.at_s, tuple(sorted(one.items.items())), one.missing, tuple(one.ages_s)) for one in found
    ]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_asked_is_what_the_oracle_asks(data: st.DataObject) -> None:
    terms = data.draw(all_terms())
    came = data.draw(arrivals(terms))
    core = Alignment(terms)
    found, wanted = as_asked(ran(core, came)), asked(terms, came)
    for asker in (*terms.by, WINDOW):
        assert [one for one in found if one.asker == asker] == [one for one in wanted if one.asker == asker]
    used = {number for one in wanted for _, number in one.items}
    for name in terms.modalities:
        mine = {one.number for one in came if one.modality == name}
        assert core.ledger.of(name).used == len(mine & used)
        assert core.waiting[name] == 0


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_same_items_at_the_same_times_give_the_same(data: st.DataObject) -> None:
    terms = data.draw(all_terms())
    came = data.draw(arrivals(terms))
    assert ran(Alignment(terms), came) == ran(Alignment(terms), came)


class Books(RuleBasedStateMachine):
    """Whatever happens: each item that came is counted once or waits, is forgotten once, and order is kept."""

    def __init__(self) -> None:
        super().__init__()
        short = Modality(wait_s=0.5, most=4, deadline_s=2.0)
        modalities = {
            "photo": replace(short, missing="last"),
            "sound": replace(short, missing="without", priority=1),
            "text": replace(short, missing="wait", lateness_s=0.25),
        }
        self.core = Alignment(AlignTerms(modalities=modalities, by=("photo", "sound"), under_way=2))
        self.now_s, self.number = 0.0, 0
        self.asked: list[Ask] = []
        self.under_way: list[int] = []
        self.forgotten: list[int] = []

    def _did(self, actions: list[Action]) -> None:
        for one in actions:
            if isinstance(one, Forget):
                self.forgotten.append(one.number)
            else:
                assert not set(one.items.values()) & set(self.forgotten)
                self.asked.append(one)
                self.under_way.append(one.request)

    @rule(name=st.sampled_from(["photo", "sound", "text"]), back=st.sampled_from([0, 0.125, 0.5, 30]))
    def put(self, name: str, back: float) -> None:
        self.number += 1
        self._did(self.core.put(name, self.number, self.now_s - back, self.now_s))

    @rule(seconds=st.sampled_from([0.0625, 0.25, 1]))
    def time_goes_on(self, seconds: float) -> None:
        self.now_s += seconds
        self._did(self.core.tick(self.now_s))

    @rule(which=st.integers(0, 3))
    def answered(self, which: int) -> None:
        if which < len(self.under_way):
            self._did(self.core.ended(self.under_way.pop(which), self.now_s))

    @invariant()
    def books_add_up(self) -> None:
        waiting = self.core.waiting
        assert all(count >= 0 for count in waiting.values())
        assert len(set(self.forgotten)) == len(self.forgotten)
        assert sum(waiting.values()) + len(self.forgotten) == self.number
        assert len(self.under_way) <= 2
        assert self.core.ledger.asked == len(self.asked)
        assert all(len(held.items) <= 4 for held in self.core.held.values())

    @invariant()
    def nothing_waits_without_a_time(self) -> None:
        due_s = self.core.due_s
        assert due_s is None or due_s > self.now_s

    def teardown(self) -> None:
        self.now_s += LONG_S
        self._did(self.core.end(self.now_s))
        while self.under_way:
            self._did(self.core.ended(self.under_way.pop(), self.now_s))
        assert not sum(self.core.waiting.values())


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def asks(actions: list[Action]) -> list[Ask]:
    return [one for one in actions if isinstance(one, Ask)]


def with_sound(**terms: object) -> Alignment:
    sound = replace(PLAIN.modalities["sound"], **terms)  # type: ignore[arg-type]
    return Alignment(replace(PLAIN, modalities={"photo": PLAIN.modalities["photo"], "sound": sound}))


def test_the_nearest_is_taken_as_soon_as_none_nearer_can_come() -> None:
    core = with_sound()
    assert not asks(core.put("sound", 1, 0.95, 0))
    assert not asks(core.put("photo", 2, 1.0, 0))  # one captured at 1.02 would be nearer
    (one,) = asks(core.put("sound", 3, 1.06, 0))
    assert one.items == {"photo": 2, "sound": 1}


def test_who_waits_gives_its_request_up_when_the_wait_ends() -> None:
    core = with_sound(wait_s=0.3)
    core.put("photo", 1, 1.0, 10.0)
    assert core.due_s == 10.0 + 0.3
    assert not core.tick(10.2)
    assert core.tick(10.3) == [Forget(number=1)]
    assert core.ledger.of("photo").unmatched == 1
    assert core.due_s is None


def test_without_a_silent_modality_the_request_is_asked_and_marked() -> None:
    core = with_sound(wait_s=0.3, missing="without")
    core.put("photo", 1, 1.0, 10.0)
    (one,) = asks(core.tick(10.3))
    assert (one.items, one.missing) == ({"photo": 1}, ("sound",))
    assert core.ledger.without == {"sound": 1}


def test_a_watermark_tells_that_a_modality_is_missing_before_the_wait_ends() -> None:
    core = with_sound(missing="without")
    core.put("photo", 1, 1.0, 10.0)
    (one,) = asks(core.put("sound", 2, 2.0, 10.01))
    assert one.missing == ("sound",)


def test_the_last_one_fills_the_place_with_its_age_even_if_it_came_late() -> None:
    core = with_sound(wait_s=0.3, missing="last")
    core.put("sound", 1, 0.25, 9.0)
    core.put("photo", 2, 1.0, 10.0)
    (first,) = asks(core.tick(10.3))
    assert (first.items, first.ages_s) == ({"photo": 2, "sound": 1}, {"sound": 0.75})
    core.put("sound", 3, 0.5, 10.4)  # for none before, yet newer than the last
    core.put("photo", 4, 2.0, 11.0)
    (second,) = asks(core.tick(11.3))
    assert (second.items["sound"], second.ages_s) == (3, {"sound": 1.5})
    assert core.ledger.filled == {"sound": 2}


def test_what_comes_after_its_request_was_asked_is_late() -> None:
    core = with_sound(wait_s=0.3, missing="without")
    core.put("photo", 1, 1.0, 10.0)
    core.tick(10.3)
    core.put("photo", 2, 2.0, 11.0)
    assert core.put("sound", 3, 1.0, 11.1) == [Forget(number=3)]
    assert core.ledger.of("sound").late == 1
    assert core.put("photo", 4, 0.5, 11.2) == [Forget(number=4)]
    assert core.ledger.of("photo").late == 1


def test_a_corrected_clock_brings_together_what_was_captured_together() -> None:
    core = with_sound()
    core.clock("sound", sample(100.0, 0.01, 0.01, 100.02))  # ahead by 100 s
    core.put("sound", 1, 100.95, 0)
    core.put("photo", 2, 1.0, 0)
    (one,) = asks(core.put("sound", 3, 101.5, 0))
    assert one.items == {"photo": 2, "sound": 1}


def test_a_clock_that_was_set_back_is_believed_in_the_end() -> None:
    core = Alignment(AlignTerms(modalities={"photo": Modality()}, by=("photo",), under_way=1000))
    core.put("photo", 1, 1e6, 0)
    told = [len(asks(core.put("photo", 2 + at, 1.0 + at, 0))) for at in range(2 * SET_BACK)]
    assert told == [0] * (SET_BACK - 1) + [1] * (SET_BACK + 1)


def test_first_comes_what_has_priority_and_what_is_too_old_is_not_asked() -> None:
    modalities = {"sound": Modality(priority=1, deadline_s=5.0, missing="without"), "photo": Modality()}
    modalities = {name: replace(one, wait_s=0.0, missing="without") for name, one in modalities.items()}
    core = Alignment(AlignTerms(modalities=modalities, by=("sound", "photo"), under_way=1))
    (first,) = asks(core.put("sound", 1, 0.0, 0.0))
    for number, name in ((2, "sound"), (3, "photo"), (4, "sound")):
        assert not asks(core.put(name, number, number, float(number)))
    (second,) = asks(core.ended(first.request, 4.5))
    assert second.asker == "photo"
    (third,) = asks(core.ended(second.request, 8.0))  # that of 2 s has expired at 7
    assert third.items["sound"] == 4
    assert core.ledger.of("sound").expired == 1


def test_thinning_takes_from_the_least_so_that_the_first_keeps_its_deadline() -> None:
    modalities = {
        "sound": Modality(priority=0, deadline_s=0.4, missing="without", wait_s=0.0),
        "photo": Modality(priority=1, deadline_s=0.4, missing="without", wait_s=0.0),
    }
    core = Alignment(AlignTerms(modalities=modalities, by=("sound", "photo"), under_way=1))
    free_s, under_way = 0.0, list[int]()
    came = sorted([(at / 5, "sound") for at in range(100)] + [(at / 50, "photo") for at in range(1000)])
    for number, (now_s, name) in enumerate(came):
        while under_way and free_s <= now_s:  # each takes 100 ms
            again = asks(core.ended(under_way.pop(), free_s))
            under_way += [one.request for one in again]
            free_s += 0.1
        asked_now = asks(core.put(name, number, now_s, now_s))
        if asked_now:
            under_way += [one.request for one in asked_now]
            free_s = now_s + 0.1
    sound, photo = core.ledger.of("sound"), core.ledger.of("photo")
    assert sound.thinned == sound.expired == 0
    assert sound.used + core.waiting["sound"] == 100
    assert photo.thinned > photo.used > 50
    assert photo.thinned > 2 * photo.expired  # most of it evenly, before anyone waited


def test_thinning_ends_when_there_is_time_again() -> None:
    core = Alignment(AlignTerms(modalities={"photo": Modality(deadline_s=1.0)}, by=("photo",), under_way=1))
    thinning = core.thinning
    for at in range(1, 20):
        thinning.answered(at * 1.0, still_busy=True)
    thinning.look({"photo": 3}, 1, 20.0)
    assert thinning.steps == {}
    thinning.look({"photo": 3}, 1, 20.5)
    assert thinning.steps == {"photo": 2}
    assert [thinning.keeps("photo") for _ in range(4)] == [True, False, True, False]
    for at in range(200):
        thinning.answered(20 + at / 100, still_busy=True)
    thinning.look({}, 0, 23.0)
    assert thinning.steps == {"photo": 1}


def test_unknown_modalities_are_refused() -> None:
    with pytest.raises(KeyError):
        with_sound().put("smell", 1, 0.0, 0.0)
