"""The console: pages for people, over what the admin API answers. Read models come from there, never from SQL."""

from headrace.console.service import mount

__all__ = ["mount"]
