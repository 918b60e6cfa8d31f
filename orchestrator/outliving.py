"""For processes that may be init's children, as services are: that Ray does not end them with a lost head.

Ray takes such a process for one whose raylet died, and ends it as it lets go of the head, unless it is told which
process to look at: itself. Ray reads that when it is first imported, so nothing here imports it.
"""

import os


def outlive_parents() -> None:
    """To be called before Ray is imported."""
    os.environ["RAY_RAYLET_PID"] = str(os.getpid())
