"""What the fault harness kills: jobs that write a row for each person, and send each a mail."""

import json
import os
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert

from headrace import Batch, Item, Job

PEOPLE = (1, 2, 3)
tables = MetaData()
addresses = Table("addresses", tables, Column("run", String), Column("person", Integer))
mailed = Table("mailed", tables, Column("run", String), Column("person", Integer), Column("mail", Integer))


def send_letters(job: Job) -> None:
    job.split(write_addresses, items=people)
    job.split(mail, items=people)


def send_once(job: Job) -> None:
    job.split(mail_once, items=people)


def address(job: Job) -> None:
    job.split(write_addresses_later, items=people)


def people(_: Connection, after: int | None) -> Iterator[int]:
    return (person for person in PEOPLE if after is None or person > after)


def write_addresses(batch: Batch) -> None:
    def write(connection: Connection, person: int) -> None:
        connection.execute(insert(addresses).values(run=batch.run_id, person=person))

    batch.write_each(write)


def write_addresses_later(batch: Batch) -> None:
    if batch.saved is None:
        batch.checkpoint("begun")
        batch.continue_later()
    with batch.transaction(completes=True) as connection:
        rows = [{"run": batch.run_id, "person": person} for person in batch.items]
        connection.execute(insert(addresses), rows)


def mail(batch: Batch) -> None:
    def send(item: Item) -> None:
        number = item.once("mail", partial(_send, "/keyed", batch.run_id, item.value), repeatable=True)
        with item.transaction() as connection:
            connection.execute(insert(mailed).values(run=batch.run_id, person=item.value, mail=number))

    batch.for_each(send)


def mail_once(batch: Batch) -> None:
    def send(item: Item) -> None:
        item.once("mail", partial(_send, "/plain", batch.run_id, item.value))

    batch.for_each(send)


def _send(path: str, run_id: str, person: int, idempotency_key: str) -> int:
    """Send one mail to the sink; its number there."""
    connection = HTTPConnection(os.environ["MAIL_SINK"])
    body = json.dumps({"run": run_id, "person": person})
    connection.request("POST", path, body, {"Idempotency-Key": idempotency_key})
    number: int = json.load(connection.getresponse())["number"]
    connection.close()
    return number
