"""Claims about whom to believe: streams while tensors flow, the radio network while they don't, probes last."""

import pytest

from orchestrator.network import FRESH_S, Observation, Origin, Sources, believed


def seen(origin: Origin, at_s: float, *, source: str = "camera", std: float = 0.1, by: str = "") -> Observation:
    return Observation(
        source=source, target="mec", bytes_per_s=1e6, propagation_s=0.01, std=std, at_s=at_s, origin=origin, by=by
    )


@pytest.mark.parametrize(
    ("ages", "whom"),
    [
        ({"streams": 1.0, "rnis": 0.0, "probe": 0.0}, "streams"),
        ({"streams": FRESH_S + 0.1, "rnis": 1.0, "probe": 0.0}, "rnis"),
        ({"streams": FRESH_S + 0.1, "rnis": FRESH_S + 0.1, "probe": 4.0}, "probe"),
        ({"rnis": FRESH_S + 9.0, "probe": FRESH_S + 1.0}, "probe"),
        ({"streams": FRESH_S + 5.0, "rnis": FRESH_S + 9.0, "probe": FRESH_S + 7.0}, "streams"),
        ({"streams": 100.0, "probe": 100.0}, "streams"),
    ],
)
def test_the_most_trusted_fresh_word_counts_else_the_newest(ages: dict[Origin, float], whom: Origin) -> None:
    words = [seen(origin, 1000.0 - age_s) for origin, age_s in ages.items()]
    for order in (words, words[::-1]):
        chosen = believed(order, 1000.0)
        assert chosen is not None and chosen.origin == whom


def test_of_nothing_nothing_is_believed() -> None:
    assert believed([], 0.0) is None


def test_the_radio_network_is_heeded_only_while_streams_are_silent() -> None:
    sources = Sources()
    assert sources.heard(seen("streams", 10.0), 10.0)
    assert not sources.heard(seen("rnis", 11.0), 11.0)
    assert sources.heard(seen("rnis", 16.0), 16.0)
    assert sources.heard(seen("streams", 16.1), 16.1)


def test_links_are_told_apart() -> None:
    sources = Sources()
    sources.heard(seen("streams", 10.0), 10.0)
    assert sources.heard(seen("rnis", 10.0, source="phone"), 10.0)
    assert [(one.source, one.origin) for one in sources.believed(11.0)] == [("camera", "streams"), ("phone", "rnis")]


def test_what_is_believed_changes_with_time_alone() -> None:
    sources = Sources()
    sources.heard(seen("streams", 10.0), 10.0)
    sources.heard(seen("rnis", 14.0), 14.0)
    assert [sources.believed(now_s)[0].origin for now_s in (15.0, 15.1)] == ["streams", "rnis"]


def test_beside_fresh_traffic_another_stream_s_probe_counts_if_it_is_surer() -> None:
    traffic, probe = seen("streams", 10.0, std=0.3, by="camera"), seen("probe", 10.5, std=0.1)
    assert believed([traffic, probe, seen("rnis", 10.5, std=0.0)], 11.0) is probe
    assert believed([traffic, seen("probe", 10.5, std=0.5)], 11.0) is traffic


def test_without_traffic_the_radio_network_goes_before_a_probe() -> None:
    rnis, probe = seen("rnis", 10.0, std=0.5), seen("probe", 10.5)
    assert believed([rnis, probe], 11.0) is rnis


def test_a_stream_that_only_probes_takes_back_what_it_said_of_its_traffic() -> None:
    sources = Sources()
    assert sources.heard(seen("streams", 10.0, std=0.01), 10.0)
    assert sources.heard(seen("probe", 10.1, std=0.2), 10.1)
    assert sources.heard(seen("streams", 10.2, std=0.3), 10.2)
