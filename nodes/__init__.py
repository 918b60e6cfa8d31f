"""What runs on a machine: sessions, stages, streams and the worker that hosts them."""
