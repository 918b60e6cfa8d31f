"""What every test shares: Hypothesis without deadlines (machines differ) and, in CI, without luck."""

import os

from hypothesis import settings

from tests.shared_cluster import cluster_home, shared_client

__all__ = ["cluster_home", "shared_client"]

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
