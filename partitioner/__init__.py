"""Pure planning: a model's graph, machines and links in, a plan with its certificate out."""
