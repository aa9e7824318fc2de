"""The operations of openapi.yaml that work, a batch at a time: one module a domain."""
