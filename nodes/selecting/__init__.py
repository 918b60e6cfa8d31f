"""What measures a cell of `isthmus select` on the machine that it runs on; which, orchestrator/selecting decides."""
