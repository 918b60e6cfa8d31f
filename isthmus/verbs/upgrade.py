"""`isthmus upgrade`: every worker and the controller replaced by the code that is installed now, under load."""

from dataclasses import asdict

from isthmus.terminal import note, show, show_json
from isthmus.verbs.cluster import joined


def upgrade_cluster(address: str | None, *, every: bool, as_json: bool) -> int:
    """Replace what tells another version, a line for each as it is done.

    Returns the exit status: 1 if a worker that was started by hand is left to be restarted.
    """
    with joined(address) as client:
        done = client.upgrade(every=every, say=note if as_json else show)
    if as_json:
        show_json(asdict(done))
    return 1 if done.by_hand else 0
