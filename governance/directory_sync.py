"""Brings users, groups and memberships in line with pages of a directory.

Users before groups before memberships: a membership needs both. What is right already is not touched, so a second
synchronisation changes nothing but the mark of the run that saw an entry last; entries that a whole run has not
seen are gone from the directory.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import Column, Connection, Table, and_, bindparam, delete, exists, select, update

from governance.directory import GROUP, USER, Entry
from governance.tables import groups, ldap_links, memberships, users
from governance.upsert import insert_missing, upsert

LDAP = "ldap"

Membership = tuple[int, int]
"""A group's id and a user's."""


def write_users(connection: Connection, source: str, entries: Sequence[Entry], *, run_id: str, at: float) -> None:
    """Make or rename the users of some entries at the time `at` (epoch seconds); an e-mail known already is taken."""
    now = int(at * 1000)
    rows = {entry.uuid: {"email": entry.attributes["mail"], "last_modified": now} for entry in entries}
    _write_objects(connection, source, USER, entries, users.c.email, rows, run_id)


def write_groups(connection: Connection, source: str, entries: Sequence[Entry], *, run_id: str) -> None:
    """Make or rename the groups of some entries; each source has names of its own."""
    rows = {entry.uuid: {"name": f"{source}/{entry.attributes['cn']}"} for entry in entries}
    _write_objects(connection, source, GROUP, entries, groups.c.name, rows, run_id)


def write_memberships(connection: Connection, source: str, entries: Sequence[Entry]) -> None:
    """Give the groups of some entries just the members that the directory names; members nobody knows are left out."""
    group_ids = _ids(connection, source, entries, groups)
    user_ids = _user_ids(connection, source, {member for entry in entries for member in entry.members})
    wanted = {
        (group_ids[entry.uuid], user_ids[member])
        for entry in entries
        if entry.uuid in group_ids
        for member in entry.members
        if member in user_ids
    }
    here = memberships.c
    ours = select(here.group_id, here.user_id).where(here.source == LDAP, here.group_id.in_(list(group_ids.values())))
    held = {(group_id, user_id) for group_id, user_id in connection.execute(ours)}
    _take(connection, held - wanted)
    insert_missing(
        connection,
        memberships,
        [{"group_id": group_id, "user_id": user_id, "source": LDAP} for group_id, user_id in sorted(wanted - held)],
    )


def gone_after(connection: Connection, after: str | None, *, source: str, run_id: str) -> Iterator[dict[str, Any]]:
    """`{source, uuid}` of the entries that a run has not seen, in order, behind the uuid `after`."""
    here = ldap_links.c
    gone = select(here.uuid).where(here.source == source, here.seen_by != run_id).order_by(here.uuid)
    if after is not None:
        gone = gone.where(here.uuid > after)
    for uuid in connection.execute(gone).scalars():
        yield {"source": source, "uuid": uuid}


def delete_gone(connection: Connection, source: str, uuids: Collection[str]) -> None:
    """Delete the users and groups of entries that are gone, but for those that another directory has too."""
    here = ldap_links.c
    mine = and_(here.source == source, here.uuid.in_(uuids))
    links = connection.execute(select(here.kind, here.object_id).where(mine)).all()
    connection.execute(delete(ldap_links).where(mine))
    for kind, table in ((USER, users), (GROUP, groups)):
        ids = [link.object_id for link in links if link.kind == kind]
        elsewhere = exists().where(here.kind == kind, here.object_id == table.c.id)
        connection.execute(delete(table).where(table.c.id.in_(ids), ~elsewhere))


def _write_objects(
    connection: Connection,
    source: str,
    kind: str,
    entries: Sequence[Entry],
    name: Column[str],
    rows: Mapping[str, Mapping[str, Any]],
    run_id: str,
) -> None:
    """Write the rows of some entries, by uuid, to the table of the column `name`; and the links between both."""
    table: Table = name.table
    known = _ids(connection, source, entries, table)
    new = {uuid: row for uuid, row in rows.items() if uuid not in known}
    insert_missing(connection, table, list(new.values()))
    found = select(name, table.c.id).where(name.in_([row[name.name] for row in new.values()]))
    by_name: dict[str, int] = dict(connection.execute(found).all())
    if known:
        renamed = and_(table.c.id == bindparam("its_id"), name != bindparam("its_name"))
        changes = [{"its_id": known[uuid], "its_name": rows[uuid][name.name], **rows[uuid]} for uuid in known]
        connection.execute(update(table).where(renamed), changes)
    ids = known | {uuid: by_name[row[name.name]] for uuid, row in new.items()}
    links = [
        {
            "source": source,
            "uuid": entry.uuid,
            "dn": entry.dn,
            "kind": kind,
            "object_id": ids[entry.uuid],
            "seen_by": run_id,
        }
        for entry in entries
    ]
    upsert(connection, ldap_links, links)


def _ids(connection: Connection, source: str, entries: Sequence[Entry], table: Table) -> dict[str, int]:
    """By uuid, which rows of `table` the entries are; without those that are not linked, or whose row is gone."""
    here = ldap_links.c
    uuids = [entry.uuid for entry in entries]
    found = select(here.uuid, table.c.id).join(table, table.c.id == here.object_id)
    return dict(connection.execute(found.where(here.source == source, here.uuid.in_(uuids))).all())


def _user_ids(connection: Connection, source: str, dns: Set[str]) -> dict[str, int]:
    """By dn, which users the entries are."""
    here = ldap_links.c
    found = select(here.dn, users.c.id).join(users, users.c.id == here.object_id)
    there = found.where(here.source == source, here.kind == USER, here.dn.in_(sorted(dns)))
    return dict(connection.execute(there).all())


def _take(connection: Connection, places: Set[Membership]) -> None:
    if places:
        here = memberships.c
        ours = and_(here.source == LDAP, here.group_id == bindparam("its_group"), here.user_id == bindparam("its_user"))
        rows = [{"its_group": group_id, "its_user": user_id} for group_id, user_id in sorted(places)]
        connection.execute(delete(memberships).where(ours), rows)
