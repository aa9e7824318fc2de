"""The operations of openapi.yaml that split or answer: one module a domain."""
