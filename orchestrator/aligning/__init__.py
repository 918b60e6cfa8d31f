"""Which items of several sensors make one request: a core without clock, IO or lots, its terms and its counts."""
