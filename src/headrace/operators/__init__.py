"""What people see and do beside the flow of a run: dead letters, decisions, cancelling, and who did what."""

from headrace.operators.operators import Operators, make_operators

__all__ = ["Operators", "make_operators"]
