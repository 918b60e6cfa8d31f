"""Street_watch's film through its deployment on real Ray: each frame asks with the sound of its time, or without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.street_watch.deployed import TAKES, follow, spec_of
from examples.street_watch.situations import SITUATIONS
from orchestrator.client import Client
from tests.contracts.backend_models import zoo_model
from tests.orchestrator.test_pipeline_served import served

pytestmark = pytest.mark.slow
DEAF = ("plate", "inn")


@pytest.fixture(name="watching", scope="module")
def _watching(shared_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    for name in ("hear_mel", "hear_speech", "ocr_read"):
        zoo_model(name)
    folder: Path = tmp_path_factory.mktemp("film")
    yield from served(shared_client, spec_of(folder))


def test_each_key_frame_is_asked_once_in_order_and_what_was_not_heard_is_not_told(watching: Client) -> None:
    done = follow(watching, DEAF)
    assert (done.seen, [event.name for event in done.events]) == (TAKES * len(SITUATIONS), list(SITUATIONS))
    assert done.unheard == DEAF
    meant = {name: (one.word, one.keyword, one.decision) for name, one in SITUATIONS.items()}
    meant["plate"] = ("KX51 TRB", "", "notice")  # with its keyword it would be an alarm
    wrong = {event.name: event.label for event in done.events if event.label != meant[event.name]}
    assert len(wrong) <= 1, wrong
    assert not wrong.keys() & set(DEAF)
