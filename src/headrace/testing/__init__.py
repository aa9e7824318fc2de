"""For tests of applications that push tasks: a pytest plugin, a service in the test's process, and Google's clients
for a queue server.

`docs/testing.md` shows how to use it. Importing this package loads neither gRPC nor Google's libraries.
"""

from headrace.testing.clients import cloud_scheduler_client, cloud_tasks_client

__all__ = ["cloud_scheduler_client", "cloud_tasks_client"]
