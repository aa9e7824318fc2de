"""Fills a directory with users and groups: the same entries for the same numbers."""

import uuid
from collections.abc import Iterator
from random import Random

from sqlalchemy import func, select

from governance.bulk import Cells, insert_rows
from governance.directory import GROUP, USER
from governance.tables import directory_entries, directory_members
from headrace.database import Database
from headrace.errors import StartError

SOURCE = "corporate"
USERS = 1_000
GROUPS = 200
LARGEST_GROUP = 20


def fill(database: Database, *, source: str = SOURCE, users: int = USERS, groups: int = GROUPS, seed: int = 1) -> None:
    """Write the tree of a new source: each group has 1 to `LARGEST_GROUP` members. StartError when it has entries."""
    random = Random(f"{source}/{seed}")  # noqa: S311 - repeatable on purpose
    people = [(f"uid=person{number},ou=people,dc={source}", number) for number in range(1, users + 1)]
    teams = [(f"cn=team{number},ou=groups,dc={source}", number) for number in range(1, groups + 1)]

    def entries() -> Iterator[Cells]:
        for dn, number in people:
            attributes = f'{{"cn": "Person {number}", "mail": "person{number}@{source}.example.org"}}'
            yield source, dn, _uuid(dn), USER, attributes
        for dn, number in teams:
            yield source, dn, _uuid(dn), GROUP, f'{{"cn": "team{number}"}}'

    def members() -> Iterator[Cells]:
        for dn, _ in teams:
            for member, _ in sorted(random.sample(people, min(users, random.randint(1, LARGEST_GROUP)))):
                yield source, dn, member

    with database.write() as connection:
        here = select(func.count()).where(directory_entries.c.source == source)
        if connection.execute(here).scalar_one():
            raise StartError(f"The directory {source} has entries already.", hint="Fill another source.")
        insert_rows(connection, [*directory_entries.c], entries())
        insert_rows(connection, [*directory_members.c], members())


def _uuid(dn: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_X500, dn))
