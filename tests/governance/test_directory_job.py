"""synchronizeDirectory over HTTP: its steps, its pages, what a second call meets, and what a failure leaves."""

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, delete

from governance import directory, directory_seed
from governance.directory import Page
from governance.tables import directory_entries, directory_members, groups, ldap_links, memberships, users
from governance.verify_jobs import check_directory
from headrace.drivers.base import Push
from tests.governance.application import CRON, Governance, run_governance

JOB = "/v1/cron/synchronizeDirectory?source=corporate"
STEPS = ["users", "groups", "memberships", "gone"]


@pytest.fixture
def governance(database_url: str) -> Iterator[Governance]:
    """1,000 users and 200 groups in the directory."""
    with run_governance(database_url) as running:
        directory_seed.fill(running.database)
        yield running


def step_of(push: Push) -> str:
    return push.url.rpartition("/")[2]


def steps_of(pushes: list[Push]) -> list[str]:
    return [step_of(push) for push in pushes if "synchronizeDirectory" in push.url]


def test_twenty_pages_of_users_then_four_of_groups_then_four_of_memberships(governance: Governance):
    run_id = governance.start(JOB)
    assert Counter(steps_of(list(governance.queue.tasks.values()))) == {"users": 20}
    done = steps_of(governance.drain())
    assert done == ["users"] * 20 + ["groups"] * 4 + ["memberships"] * 4
    assert governance.show(run_id)["state"] == "completed"
    assert (len(governance.rows(users)), len(governance.rows(groups))) == (1_000, 200)
    assert len(governance.rows(memberships)) == len(governance.rows(directory_members))
    assert governance.ask(check_directory, "corporate") == ()


def test_a_second_run_changes_nothing(governance: Governance):
    governance.start(JOB)
    governance.drain()
    before = [governance.rows(table) for table in (users, groups, memberships)]
    governance.clock.advance(60)
    assert governance.show(governance.start(JOB))["state"] != "skipped"
    assert len(steps_of(governance.drain())) == 28
    assert [governance.rows(table) for table in (users, groups, memberships)] == before


def test_one_source_is_synchronised_once_at_a_time_and_two_sources_side_by_side(governance: Governance):
    directory_seed.fill(governance.database, source="partner", users=70, groups=0)
    first = governance.start(JOB)
    again = governance.client.get(JOB, headers={**CRON, "Prefer": "return=representation"}).json
    assert again["state"] == "skipped"
    assert again["reason"]
    partner = governance.start(JOB.replace("corporate", "partner"))
    governance.drain()
    assert {governance.show(run_id)["state"] for run_id in (first, partner)} == {"completed"}
    assert governance.ask(check_directory, "partner") == governance.ask(check_directory, "corporate") == ()


def test_what_is_gone_from_the_directory_is_deleted_in_the_end(governance: Governance):
    governance.start(JOB)
    governance.drain()

    def leave(connection: Connection) -> None:
        gone = directory_entries.c.dn.like("%=person1__,%") | directory_entries.c.dn.like("cn=team1_,%")
        connection.execute(delete(directory_entries).where(gone))

    governance.change(leave)
    governance.start(JOB)
    assert steps_of(governance.drain())[-3:] == ["gone"] * 3
    assert (len(governance.rows(users)), len(governance.rows(groups))) == (900, 190)
    assert governance.ask(check_directory, "corporate") == ()


def test_a_page_that_cannot_be_read_leaves_out_what_is_behind_it_and_nothing_is_deleted(
    governance: Governance, monkeypatch: pytest.MonkeyPatch
):
    governance.start(JOB)
    governance.drain()
    for table in (directory_entries, directory_members):
        governance.change(lambda connection, of=table: connection.execute(delete(of)))
    directory_seed.fill(governance.database, users=60, groups=10)
    run_id = governance.start(JOB)
    search = directory.search

    def refuse(connection: Connection, source: str, kind: str, *, cookie: str = "") -> Page:
        if cookie:
            raise ConnectionError("the directory has hung up")
        return search(connection, source, kind, cookie=cookie)

    monkeypatch.setattr("handlers.directory.search", refuse)
    while governance.queue.tasks:
        push = next(iter(governance.queue.tasks.values()))
        if governance.deliver(push).status_code < 300:
            del governance.queue.tasks[push.name]
        else:
            governance.clock.advance(120)
    shown = governance.show(run_id)
    assert shown["state"] == "failed"
    assert len(governance.rows(users)) == 1_000
    assert len(governance.rows(ldap_links)) == 1_200


@pytest.mark.parametrize("query", ["?source=", "?source=No%20Name"])
def test_a_source_that_cannot_be_is_refused(governance: Governance, query: str):
    answer = governance.client.get(JOB.partition("?")[0] + query, headers=CRON)
    assert answer.status_code == 400
