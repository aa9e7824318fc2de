"""Fills a new database with users, modules, tiers, projects and grants: the same rows for the same seed.

Most users are as they should be. Some lost a module and still hold a tier, some lack a tier that they earned,
some grants are outside the allowed parents, some findings are long repaired. Nothing expires within a week
after `at`, so a job that runs then has one right result.

Workspaces and a directory are filled when they are asked for.

`python -m governance.seed --users N --workspaces N --directory --seed N --database-url URL`
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import click
from sqlalchemy import Connection, select, text

from governance import directory_seed
from governance.access import (
    CONTROLLED,
    CONTROLLED_MODULES,
    CT_COMPLIANCE_TRAINING,
    DATA_USER_CODE_OF_CONDUCT,
    DAY_MS,
    IDENTITY,
    PROFILE_CONFIRMATION,
    REGISTERED,
    REGISTERED_MODULES,
    TWO_FACTOR_AUTH,
    Module,
    expiry,
)
from governance.bulk import Cells, insert_rows, number_on
from governance.schema import open_database
from governance.tables import (
    allowed_parents,
    audit_findings,
    project_grants,
    projects,
    user_modules,
    user_tiers,
    users,
    workspace_members,
    workspaces,
)
from headrace.config.settings import load_settings
from headrace.database import Database
from headrace.errors import StartError

CHUNK = 5_000
BOTH_TIERS = (REGISTERED, CONTROLLED)
ALLOWED_PARENTS = {101: "research", 102: "education", 103: "operations"}
OTHER_PARENTS = (901, 902, None)
ROLES = ("reader", "writer", "owner")


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of user, and how many of a hundred are of it; a module counts unless named otherwise."""

    share: int
    modules: Sequence[Module]
    tiers: Sequence[str]
    expired: Sequence[Module] = ()
    removed: Sequence[Module] = ()
    bypassed: Sequence[Module] = ()
    disabled: bool = False


PROFILES = (
    Profile(37, REGISTERED_MODULES, (REGISTERED,)),
    Profile(36, CONTROLLED_MODULES, BOTH_TIERS),
    Profile(5, CONTROLLED_MODULES, BOTH_TIERS, expired=(DATA_USER_CODE_OF_CONDUCT,)),
    Profile(4, CONTROLLED_MODULES, BOTH_TIERS, expired=(CT_COMPLIANCE_TRAINING,)),
    Profile(3, REGISTERED_MODULES, (REGISTERED,), removed=(TWO_FACTOR_AUTH,)),
    Profile(2, CONTROLLED_MODULES, BOTH_TIERS, bypassed=(IDENTITY,)),
    Profile(
        2,
        REGISTERED_MODULES,
        (REGISTERED,),
        expired=(PROFILE_CONFIRMATION,),
        bypassed=(PROFILE_CONFIRMATION,),
    ),
    Profile(2, CONTROLLED_MODULES, BOTH_TIERS, disabled=True),
    Profile(1, REGISTERED_MODULES, (), disabled=True),
    Profile(3, CONTROLLED_MODULES, ()),
    Profile(2, CONTROLLED_MODULES, (REGISTERED,)),
    Profile(3, (TWO_FACTOR_AUTH, IDENTITY), ()),
)
_LOTTERY = tuple(profile for profile in PROFILES for _ in range(profile.share))


@dataclass(frozen=True, slots=True)
class Person:
    """One user to write: the profile, and how many days ago the last module was completed."""

    id: int
    profile: Profile
    days: int


def fill(database: Database, count: int, *, seed: int, at: float) -> None:
    """Write `count` users as of `at` (epoch seconds), in bounded memory. StartError when there are users."""
    at_ms = int(at * 1000)
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    parents = _choose_parents(random, max(20, count // 50))
    with database.write() as connection:
        if connection.execute(select(users.c.id).limit(1)).first():
            raise StartError("The database has users already.", hint="Seed a new database.")
        insert_rows(connection, [*allowed_parents.c], ALLOWED_PARENTS.items())
        rows = ((number, f"project-{number}", parent) for number, parent in parents.items())
        insert_rows(connection, [*projects.c], rows)
    people = _draw_people(random, count)
    while chunk := list(islice(people, CHUNK)):
        with database.write() as connection:
            _write_people(connection, chunk, at_ms)
            _write_projects(connection, chunk, parents, random, at_ms)
    with database.write() as connection:
        number_on(connection, users)
        # A planner that knows nothing of the new rows reads whole tables for each batch.
        connection.execute(text("ANALYZE"))


def fill_workspaces(database: Database, count: int, *, seed: int, at: float) -> None:
    """Write `count` workspaces of users that are there, as of `at` (epoch seconds).

    One in 50 has no creator any more, which the export cannot map.
    """
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    with database.write() as connection:
        people = connection.execute(select(users.c.id).order_by(users.c.id)).scalars().all()
        if count and not people:
            raise StartError("A workspace needs a user.", hint="Seed users first.")
        rows: list[Cells] = []
        members: list[Cells] = []
        for number in range(1, count + 1):
            creator = None if number % 50 == 0 else random.choice(people)
            rows.append((number, f"workspace-{number}", creator, None, "active", int(at * 1000) - number * DAY_MS))
            others = set(random.sample(people, min(3, len(people)))) - {creator}
            members += [(number, creator, "owner")] if creator is not None else []
            members += [(number, user_id, "member") for user_id in sorted(others)]
        insert_rows(connection, [*workspaces.c], rows)
        insert_rows(connection, [*workspace_members.c], members)
        number_on(connection, workspaces)


def _choose_parents(random: Random, count: int) -> dict[int, int | None]:
    choices = [*ALLOWED_PARENTS] * 9 + [*OTHER_PARENTS]
    return {number: random.choice(choices) for number in range(1, count + 1)}


def _draw_people(random: Random, count: int) -> Iterator[Person]:
    for number in range(1, count + 1):
        yield Person(number, _LOTTERY[int(random.random() * len(_LOTTERY))], 2 + int(random.random() * 340))


def _write_people(connection: Connection, people: Sequence[Person], at: int) -> None:
    insert_rows(
        connection,
        [users.c.id, users.c.email, users.c.disabled, users.c.last_modified],
        (
            (person.id, f"user{person.id}@example.org", person.profile.disabled, at - person.days * DAY_MS)
            for person in people
        ),
    )
    insert_rows(connection, [*user_modules.c], (row for person in people for row in _modules(person, at)))
    insert_rows(
        connection,
        [*user_tiers.c],
        ((person.id, tier, at - (person.days - 1) * DAY_MS) for person in people for tier in person.profile.tiers),
    )


def _modules(person: Person, at: int) -> Iterator[Cells]:
    """Rows of user_modules; the modules were completed a day apart, so the first is at most 348 days old."""
    profile = person.profile
    for age, module in enumerate(profile.modules, start=person.days):
        completed_at: int | None = at - age * DAY_MS
        if module in profile.removed:
            completed_at = None
        elif module in profile.expired:
            completed_at = at - (age + 365) * DAY_MS
        bypassed_at = at - person.days * DAY_MS if module in profile.bypassed else None
        expires_at = None if completed_at is None else expiry(module, completed_at)
        yield person.id, module.name, completed_at, bypassed_at, expires_at


def _write_projects(
    connection: Connection,
    people: Sequence[Person],
    parents: dict[int, int | None],
    random: Random,
    at: int,
) -> None:
    """One user in five works in a project, half of them in two roles; some were found there before."""
    grants: list[Cells] = []
    findings: list[Cells] = []
    for person in people:
        if random.random() >= 0.2:
            continue
        project = 1 + int(random.random() * len(parents))
        roles = ROLES[: 1 + int(random.random() * 2)]
        grants += [(person.id, project, role) for role in roles]
        if random.random() < 0.02:
            findings.append((person.id, project, at - 30 * DAY_MS))
    insert_rows(connection, [*project_grants.c], grants)
    found = [audit_findings.c.user_id, audit_findings.c.project_id, audit_findings.c.opened_at]
    insert_rows(connection, found, findings)


@click.command()
@click.option("--users", "count", type=click.IntRange(min=0), default=10_000, show_default=True)
@click.option("--workspaces", "workspace_count", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--directory", is_flag=True, help="Fill a directory, too: 1,000 users and 200 groups.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same number makes the same users.")
@click.option("--database-url", envvar="HEADRACE_DATABASE_URL", help="SQLAlchemy URL.  [default: the service's own]")
@click.option("--if-empty", is_flag=True, help="Do nothing where there are users already.")
def main(
    count: int, workspace_count: int, directory: bool, seed: int, database_url: str | None, if_empty: bool
) -> None:
    """Fill a new database with users, modules, tiers, projects and grants."""
    started = time.monotonic()
    if database_url is None:
        settings = load_settings(os.environ, folder=Path(__file__).parent.parent)
        settings.data.mkdir(parents=True, exist_ok=True)
        database_url = settings.database_url
    with open_database(database_url) as database:
        if if_empty and _has_users(database):
            return
        at = start_of_day(time.time())
        fill(database, count, seed=seed, at=at)
        fill_workspaces(database, workspace_count, seed=seed, at=at)
        if directory:
            directory_seed.fill(database, seed=seed)
    click.echo(f"seed: {count} users in {time.monotonic() - started:.1f} s")


def _has_users(database: Database) -> bool:
    with database.read() as connection:
        return connection.execute(select(users.c.id).limit(1)).first() is not None


def start_of_day(now: float) -> float:
    """The last midnight UTC, so that two fillings on one day are equal. Epoch seconds."""
    return now - now % (DAY_MS / 1000)


if __name__ == "__main__":
    main()
