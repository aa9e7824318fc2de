"""The directory gives pages as LDAP does, and a synchronisation makes of them what the directory says."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from governance import directory_seed
from governance.directory import GROUP, PAGE_SIZE, USER, Entry, pages_after, search
from governance.directory_sync import delete_gone, gone_after, write_groups, write_memberships, write_users
from governance.tables import directory_entries, directory_members, groups, ldap_links, memberships, users
from governance.verify_jobs import check_directory
from headrace.database import Database
from headrace.errors import StartError

NOW = 1_790_000_000.0
SOURCE = directory_seed.SOURCE
Rows = Callable[..., list[dict[str, Any]]]


def entries_of(connection: Connection, kind: str, source: str = SOURCE) -> list[Entry]:
    found = []
    for page in pages_after(connection, None, source=source, kind=kind):
        found += search(connection, source, kind, cookie=page["cookie"]).entries
    return found


def synchronize(database: Database, run_id: str, *, at: float = NOW, source: str = SOURCE) -> None:
    with database.write() as connection:
        teams = entries_of(connection, GROUP, source)
        write_users(connection, source, entries_of(connection, USER, source), run_id=run_id, at=at)
        write_groups(connection, source, teams, run_id=run_id)
        write_memberships(connection, source, teams)
        gone = [each["uuid"] for each in gone_after(connection, None, source=source, run_id=run_id)]
        delete_gone(connection, source, gone)


@pytest.fixture
def small(database: Database) -> Database:
    """A directory of 120 users and 60 groups."""
    directory_seed.fill(database, users=120, groups=60)
    return database


def test_a_search_gives_a_page_and_the_cookie_of_the_next_until_the_last(small: Database):
    with small.read() as connection:
        first = search(connection, SOURCE, USER)
        second = search(connection, SOURCE, USER, cookie=first.cookie)
        third = search(connection, SOURCE, USER, cookie=second.cookie)
    assert [len(page.entries) for page in (first, second, third)] == [50, 50, 20]
    assert third.cookie == ""
    assert len({entry.uuid for page in (first, second, third) for entry in page.entries}) == 120


def test_a_page_that_ends_with_the_last_entry_has_no_cookie(small: Database):
    with small.read() as connection:
        page = search(connection, SOURCE, GROUP, page_size=30)
        assert search(connection, SOURCE, GROUP, cookie=page.cookie, page_size=30).cookie == ""


@pytest.mark.parametrize("size", [0, PAGE_SIZE + 1])
def test_the_directory_gives_no_more_than_a_page(small: Database, size: int):
    with small.read() as connection, pytest.raises(ValueError, match="1 to 50 entries a page"):
        search(connection, SOURCE, USER, page_size=size)


def test_a_cookie_of_nobodys_is_refused(small: Database):
    with small.read() as connection, pytest.raises(ValueError, match="none of this directory's"):
        search(connection, SOURCE, USER, cookie="/\N{SNOWMAN}")


def test_pages_go_on_behind_a_cookie_and_an_empty_directory_has_none(small: Database):
    with small.read() as connection:
        pages = list(pages_after(connection, None, source=SOURCE, kind=USER))
        assert pages[0] == {"source": SOURCE, "cookie": ""}
        for place, page in enumerate(pages):
            assert list(pages_after(connection, page["cookie"], source=SOURCE, kind=USER)) == pages[place + 1 :]
        assert list(pages_after(connection, None, source="nowhere", kind=USER)) == []


def test_a_directory_is_filled_once(small: Database):
    with pytest.raises(StartError, match="has entries already"):
        directory_seed.fill(small)


def test_a_synchronisation_makes_what_the_directory_has(small: Database, rows: Rows):
    synchronize(small, "run-1")
    assert (len(rows(users)), len(rows(groups)), len(rows(ldap_links))) == (120, 60, 180)
    assert len(rows(memberships)) == len(rows(directory_members))
    with small.read() as connection:
        assert check_directory(connection, SOURCE) == ()


def test_a_second_synchronisation_changes_nothing(small: Database, rows: Rows):
    synchronize(small, "run-1")
    before = [rows(table) for table in (users, groups, memberships)]
    synchronize(small, "run-2", at=NOW + 60)
    assert [rows(table) for table in (users, groups, memberships)] == before
    assert {link["seen_by"] for link in rows(ldap_links)} == {"run-2"}


def test_a_user_whose_e_mail_is_known_already_is_taken_and_not_doubled(
    small: Database, add_user: Callable[..., None], rows: Rows
):
    add_user(7_000)
    with small.write() as connection:
        connection.execute(update(users).values(email=f"person3@{SOURCE}.example.org"))
    synchronize(small, "run-1")
    assert len(rows(users)) == 120
    assert 7_000 in {link["object_id"] for link in rows(ldap_links) if link["kind"] == USER}


def test_an_entry_that_is_renamed_stays_the_same_user(small: Database, rows: Rows):
    synchronize(small, "run-1")
    ids = {row["id"] for row in rows(users)}
    moved = f"uid=person5,ou=people,dc={SOURCE}"
    with small.write() as connection:
        mine = directory_entries.c.dn == moved
        attributes = {"cn": "Person 5", "mail": "new@example.org"}
        connection.execute(update(directory_entries).where(mine).values(dn="uid=new,ou=people", attributes=attributes))
        connection.execute(
            update(directory_members).where(directory_members.c.member == moved).values(member="uid=new,ou=people")
        )
    synchronize(small, "run-2", at=NOW + 60)
    changed = [row for row in rows(users) if row["last_modified"] > NOW * 1000]
    assert [row["email"] for row in changed] == ["new@example.org"]
    assert {row["id"] for row in rows(users)} == ids
    with small.read() as connection:
        assert check_directory(connection, SOURCE) == ()


def test_a_user_who_was_deleted_by_hand_is_made_again_while_the_directory_has_the_entry(small: Database, rows: Rows):
    synchronize(small, "run-1")
    before = len(rows(memberships))
    with small.write() as connection:
        connection.execute(text("DELETE FROM users WHERE id = (SELECT min(user_id) FROM memberships)"))
    synchronize(small, "run-2")
    assert (len(rows(users)), len(rows(memberships))) == (120, before)
    with small.read() as connection:
        assert check_directory(connection, SOURCE) == ()


def test_members_come_and_go_and_those_given_otherwise_stay(small: Database, rows: Rows):
    synchronize(small, "run-1")
    place = rows(memberships)[0]
    direct = {"group_id": place["group_id"], "user_id": place["user_id"], "source": "direct", "expires_at": None}
    with small.write() as connection:
        connection.execute(insert(memberships), [direct])
        connection.execute(delete(directory_members))
        team, person = f"cn=team9,ou=groups,dc={SOURCE}", f"uid=person9,ou=people,dc={SOURCE}"
        members = [{"source": SOURCE, "dn": team, "member": each} for each in (person, "uid=nobody")]
        connection.execute(insert(directory_members), members)
    synchronize(small, "run-2")
    assert direct in rows(memberships)
    assert len(rows(memberships)) == 2
    with small.read() as connection:
        assert check_directory(connection, SOURCE) == ()


def test_what_is_gone_is_deleted_unless_another_directory_has_it(small: Database, rows: Rows):
    directory_seed.fill(small, source="partner", users=2, groups=0)
    with small.write() as connection:
        shared = {"cn": "Person 1", "mail": f"person1@{SOURCE}.example.org"}
        first = directory_entries.c.dn == "uid=person1,ou=people,dc=partner"
        connection.execute(update(directory_entries).where(first).values(attributes=shared))
    synchronize(small, "run-1")
    synchronize(small, "run-2", source="partner")
    assert len(rows(users)) == 121
    with small.write() as connection:
        connection.execute(delete(directory_entries).where(directory_entries.c.source == SOURCE))
        connection.execute(delete(directory_members))
    synchronize(small, "run-3")
    assert {row["email"] for row in rows(users)} == {shared["mail"], "person2@partner.example.org"}
    assert rows(groups) == rows(memberships) == []


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE users SET email = 'x' WHERE id = (SELECT min(id) FROM users)", "is not the user"),
        ("DELETE FROM users WHERE id = (SELECT min(id) FROM users)", "is not the user"),
        ("UPDATE groups SET name = 'x' WHERE id = (SELECT min(id) FROM groups)", "is not the group"),
        ("DELETE FROM memberships WHERE user_id = (SELECT min(user_id) FROM memberships)", "is not in group"),
        ("DELETE FROM directory_members WHERE dn = (SELECT min(dn) FROM directory_members)", "unduly"),
        (
            "DELETE FROM directory_entries WHERE dn IN (SELECT dn FROM directory_entries WHERE kind = 'user' LIMIT 1)",
            "is gone from the directory",
        ),
    ],
)
def test_the_sql_check_finds_harm(small: Database, harm: str, says: str):
    synchronize(small, "run-1")
    with small.write() as connection:
        connection.execute(text(harm))
        assert any(says in fault for fault in check_directory(connection, SOURCE))
