"""Services on the wire, over gRPC and REST, and who may call."""
