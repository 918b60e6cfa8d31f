"""Backend by precision, measured side by side: what `isthmus select` is made of."""
