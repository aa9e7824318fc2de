"""The service's tables and queries: the one place of its SQL, for SQLite and PostgreSQL alike."""

from headrace.database.connection import Database

__all__ = ["Database"]
