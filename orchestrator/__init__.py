"""The control plane: pure cores that decide, and the Ray, asyncio and gRPC shells that act."""
