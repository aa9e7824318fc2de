"""The files an application declares its queues and schedules in, and what they say."""

from headrace.config.crons import CronEntry, CronFile, JobRetry, load_cron_file
from headrace.config.queues import AccessRule, QueueEntry, QueueFile, RetryParameters, load_queue_file, read_queue_entry

__all__ = [
    "AccessRule",
    "CronEntry",
    "CronFile",
    "JobRetry",
    "QueueEntry",
    "QueueFile",
    "RetryParameters",
    "load_cron_file",
    "load_queue_file",
    "read_queue_entry",
]
