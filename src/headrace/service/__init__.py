"""The Flask application: binds the contract's operations to runs, execution and the admin API."""

from headrace.service.factory import create_app

__all__ = ["create_app"]
