"""What a scenario's reader and the simulator refuse, each in one clear line."""


class SimulationsError(Exception):
    """Base of this package's errors."""


class OutOfRange(SimulationsError, ValueError):
    """A quantity outside of what the formula behind it covers."""


class BadTrace(SimulationsError, ValueError):
    """A trace that can't be one: which, at which entry, and why."""
