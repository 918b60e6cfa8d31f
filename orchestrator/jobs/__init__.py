"""Jobs: a dataset run through a deployment, or a script, by a process of its own that may die and goes on."""
