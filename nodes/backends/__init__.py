"""Engines behind the `nodes.backend` protocols; vendors are imported here only, and lazily."""
