"""Pure functions from a state to a decision."""
