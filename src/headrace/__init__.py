"""Headrace: big jobs as many small HTTP pushes.

A cron endpoint splits a job into batched payloads and pushes them onto named queues; each queue delivers its
batches, at the rate that queue.yaml allows, to a handler endpoint, which does one batch within one request
deadline. Public names are exported here once; docs/architecture.md shows the house.
"""

__version__ = "0.1.0"
