"""exportToRdr over HTTP: researchers, then workspaces, what changed alone, and an item that cannot be mapped."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from governance import seed
from governance.tables import rdr_export, rdr_sink_users, rdr_sink_workspaces, users, workspaces
from governance.verify_jobs import check_exports, remember_exports
from headrace.database.tables import items
from headrace.drivers.base import Push
from tests.governance.application import NOW, Governance, payload_of, run_governance

JOB = "/v1/cron/exportToRdr"


@pytest.fixture
def governance(database_url: str) -> Iterator[Governance]:
    """25 users and 12 workspaces, nothing exported yet; workspace 3 has no creator any more."""
    with run_governance(database_url) as running:
        seed.fill(running.database, 25, seed=1, at=NOW)
        seed.fill_workspaces(running.database, 12, seed=1, at=NOW)
        lost = update(workspaces).where(workspaces.c.id == 3).values(creator_id=None)
        running.change(lambda connection: connection.execute(lost))
        yield running


def sizes(pushes: list[Push], endpoint: str) -> list[int]:
    return [len(payload_of(push)) for push in pushes if push.url.endswith(endpoint)]


def export(governance: Governance, *, backfill: bool = False) -> tuple[str, list[Push]]:
    """One run to its end; its id, and the tasks in the order of their delivery."""
    governance.clock.advance(60)
    governance.change(remember_exports)
    run_id = governance.start(f"{JOB}?backfill=true" if backfill else JOB)
    return run_id, governance.drain()


def test_changed_users_are_exported_ten_a_task_and_stamped(governance: Governance):
    _, pushes = export(governance)
    assert sizes(pushes, "exportResearcherData") == [10, 10, 5]
    assert len(governance.rows(rdr_sink_users)) == 25
    assert len([row for row in governance.rows(rdr_export) if row["entity_type"] == "user"]) == 25
    assert governance.ask(check_exports) == ()


def test_workspaces_are_pushed_when_the_last_users_are_there(governance: Governance):
    governance.start(JOB)
    assert {push.url.rpartition("/")[2] for push in governance.queue.tasks.values()} == {"exportResearcherData"}
    done = [push.url.rpartition("/")[2] for push in governance.drain() if "export" in push.url]
    assert done == ["exportResearcherData"] * 3 + ["exportWorkspaceData"] * 2


def test_unchanged_users_are_not_sent_again(governance: Governance):
    export(governance)
    later = update(users).where(users.c.id.in_((4, 5))).values(last_modified=int(NOW * 1000) + 1)
    governance.change(lambda connection: connection.execute(later))
    _, pushes = export(governance)
    assert sizes(pushes, "exportResearcherData") == [2]
    assert governance.ask(check_exports) == ()


def test_a_backfill_sends_all_and_stamps_nothing(governance: Governance):
    export(governance)
    stamps = governance.rows(rdr_export)
    _, pushes = export(governance, backfill=True)
    assert sizes(pushes, "exportResearcherData") == [10, 10, 5]
    assert {row["received"] for row in governance.rows(rdr_sink_users)} == {2}
    assert governance.rows(rdr_export) == stamps
    assert governance.ask(check_exports, backfill=True) == ()


def test_a_workspace_that_cannot_be_mapped_holds_up_no_other_and_is_a_failed_item_of_the_run(governance: Governance):
    run_id, _ = export(governance)
    assert [row["id"] for row in governance.rows(rdr_sink_workspaces)] == [1, 2, *range(4, 13)]
    assert 3 not in {row["entity_id"] for row in governance.rows(rdr_export) if row["entity_type"] == "workspace"}
    assert governance.ask(check_exports) == ()
    failed = select(items.c.value, items.c.error).where(items.c.run_id == run_id, items.c.state == "f")
    ((value, error),) = governance.ask(lambda connection: connection.execute(failed).all())
    assert '"id":3' in value.replace(" ", "")
    assert "workspace-3 has no creator" in error
    assert governance.show(run_id)["state"] == "completed"


def test_a_workspace_that_could_not_be_mapped_is_tried_in_the_next_run(governance: Governance):
    export(governance)
    found = update(workspaces).where(workspaces.c.id == 3).values(creator_id=1)
    governance.change(lambda connection: connection.execute(found))
    _, pushes = export(governance)
    assert sizes(pushes, "exportWorkspaceData") == [1]
    assert governance.ask(check_exports) == ()
