"""Headrace on one machine: its parts as processes, and where they are."""
