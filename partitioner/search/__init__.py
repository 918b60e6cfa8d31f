"""Solvers, one question per file; every answer is scored by `partitioner.cost`."""
