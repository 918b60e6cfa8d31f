"""Pipelines: models, registered functions and fusions, joined into one graph that is planned like any model."""
