"""The front door: deployments behind the Open Inference Protocol, over gRPC and REST."""
