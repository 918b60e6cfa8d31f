"""TVM: compiles a model into a library of its own kernels, for this machine or cross, tuned by measuring.

vendor → lower (rewrites) → kernels (schedules, records) → build → session; tuning fills the records.
"""

from nodes.backend import Backend


def load() -> Backend:
    """The backend; EngineMissing where its package is absent or would crash."""
    from nodes.backends.tvm.backend import Tvm

    return Tvm()
