"""The console: pages for people. `service` has those of a service, `queue_server` those of a queue server alone.

Read models come from what the two APIs answer, never from SQL.
"""
