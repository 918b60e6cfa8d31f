"""TVM: compiles a model into a library of its own kernels, for this machine or cross, tuned by measuring.

vendor → lower (rewrites, int8_network) → kernels (schedules, int8_schedule, records) → build → session; tuning fills
the records, before a compile or in the background.
"""

from nodes.backend import Backend


def load() -> Backend:
    """The backend; EngineMissing where its package is absent or would crash."""
    from nodes.backends.tvm.backend import Tvm

    return Tvm()
