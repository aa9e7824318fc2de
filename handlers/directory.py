"""Does the work of synchronising directories: a page is read, then written in one transaction."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from governance import directory_sync
from governance.directory import GROUP, USER, Entry, search
from headrace import Batch


def write_users(batch: Batch) -> None:
    """Bring users in line with the pages of the batch."""
    for source, entries in _read(batch, USER):
        with batch.transaction() as connection:
            directory_sync.write_users(connection, source, entries, run_id=batch.run_id, at=batch.now)


def write_groups(batch: Batch) -> None:
    """Bring groups in line with the pages of the batch."""
    for source, entries in _read(batch, GROUP):
        with batch.transaction() as connection:
            directory_sync.write_groups(connection, source, entries, run_id=batch.run_id)


def write_memberships(batch: Batch) -> None:
    """Bring the members of the groups in line with the pages of the batch."""
    for source, entries in _read(batch, GROUP):
        with batch.transaction() as connection:
            directory_sync.write_memberships(connection, source, entries)


def delete_gone(batch: Batch) -> None:
    """Delete users and groups whose entries are gone."""
    with batch.transaction(completes=True) as connection:
        for source, entries in groupby(batch.items, itemgetter("source")):
            directory_sync.delete_gone(connection, source, [entry["uuid"] for entry in entries])


def _read(batch: Batch, kind: str) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    for item in batch.items:
        with batch.read() as connection:
            page = search(connection, item["source"], kind, cookie=item["cookie"])
        yield item["source"], page.entries
