"""Radio links of LTE and 5G: losses, shadows, schemes, rates. Vectorised over users; draws from a given generator."""
