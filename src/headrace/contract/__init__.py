"""openapi.yaml: operations, their functions, guards, validation, error answers, and the check of it all."""

from headrace.contract.operations import (
    Contract,
    Guard,
    JobOptions,
    Kind,
    Operation,
    Overlap,
    TaskOptions,
)

__all__ = ["Contract", "Guard", "JobOptions", "Kind", "Operation", "Overlap", "TaskOptions"]
