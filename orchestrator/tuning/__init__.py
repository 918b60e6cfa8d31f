"""Which settings of an engine are fastest for a model on a node: tried there, within a time budget, and remembered."""
