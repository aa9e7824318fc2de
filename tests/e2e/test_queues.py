"""Queues over the admin API, on a real service and a real queue server: what an operator sets holds, come what may."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from headrace.database.tables import batches
from headrace.local.service import ServiceError
from tests.e2e.site import QUEUE, Site, copy_for_faults, run_site, wait_until

PATH = f"/api/v1/queues/{QUEUE}"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_for_faults(tmp_path_factory.mktemp("site") / "application", rate=50)


@pytest.fixture(scope="module")
def site(application: Path) -> Iterator[Site]:
    with run_site(application, users=1_000) as site:
        yield site


def row(site: Site) -> dict[str, Any]:
    return next(each for each in site.service.ask("/api/v1/queues")["queues"] if each["queue"] == QUEUE)


def first_batch(site: Site) -> int:
    statement = select(batches.c.id).where(batches.c.run_id == site.run_id()).order_by(batches.c.id).limit(1)
    return int(site.ask(lambda connection: connection.execute(statement).scalar_one()))


def test_a_task_of_a_paused_queue_says_why_it_waits_is_run_by_hand_and_the_rest_is_purged(site: Site) -> None:
    site.service.tell(f"{PATH}/pause")
    assert (row(site)["state"], row(site)["waiting"]) == ("paused", 0)
    site.call_job()
    wait_until("The split", lambda: row(site)["waiting"] == 20 and not site.is_in_split())
    path = f"/api/v1/batches/{first_batch(site)}"
    shown = site.service.ask(path, queue="true")
    assert (shown["state"], shown["on_queue"], shown["deliveries"]) == ("pushed", "queue paused", [])
    assert "authorization" not in {name.lower() for name in shown["request"]["headers"]}
    assert "on_queue" not in site.service.ask(path)
    site.service.tell(f"{path}/run")
    wait_until("The task", lambda: site.service.ask(path)["state"] == "done")
    wait_until("The delivery", lambda: len(site.service.ask(path, queue="true")["deliveries"]) == 1)
    (delivery,) = site.service.ask(path, queue="true")["deliveries"]
    assert (delivery["number"], delivery["status"]) == (1, 204)
    with pytest.raises(ServiceError, match=r"cannot be run now\. It is done"):
        site.service.tell(f"{path}/run")
    assert site.service.tell(f"{PATH}/purge") == {"purged": 19, "more": False}
    run = site.service.show_run(site.run_id())
    assert (run["state"], run["tasks"]["done"], run["tasks"]["cancelled"]) == ("completed", 1, 19)
    site.service.tell(f"{PATH}/resume")
    site.sweep()
    shown = site.service.ask(PATH)
    assert (shown["state"], shown["waiting"], shown["tasks"]) == ("running", 0, [])
    audit = site.service.ask("/api/v1/audit", limit=4)["audit"]
    assert [each["action"] for each in audit] == ["resume_queue", "purge_queue", "run_now", "pause_queue"]


def test_limits_outlast_a_reload_of_the_file_and_a_restart_and_are_given_back(site: Site, application: Path) -> None:
    begun = time.monotonic()
    answer = site.service.tell(PATH, {"rate_per_second": 7.5, "max_attempts": 4}, method="PATCH")
    assert (answer["limits"]["rate_per_second"], answer["declared"]["rate_per_second"]) == (7.5, 50)
    queue = site.queues.get_queue(name=f"projects/headrace-dev/locations/local/queues/{QUEUE}")
    assert queue.rate_limits.max_dispatches_per_second == 7.5
    assert time.monotonic() - begun < 5, "it is in force at once"
    file = application / "queue.yaml"
    file.write_text(file.read_text().replace("rate: 50/s", "rate: 60/s"))
    wait_until("The file", lambda: row(site)["declared"]["rate_per_second"] == 60)
    assert row(site)["limits"]["rate_per_second"] == 7.5
    start_again = site.kill_queue_server()
    begun = time.monotonic()
    assert row(site)["state"] == "unknown"
    with pytest.raises(ServiceError, match=f"The queue {QUEUE} gives no answer"):
        site.service.tell(f"{PATH}/pause")
    assert time.monotonic() - begun < 5, "a queue server that is gone holds up no page"
    start_again()
    wait_until("The queue server", lambda: row(site)["state"] == "running")
    assert (row(site)["limits"]["rate_per_second"], row(site)["limits"]["max_attempts"]) == (7.5, 4)
    with pytest.raises(ServiceError, match="400"):
        site.service.tell(PATH, {"rate_per_second": 501}, method="PATCH")
    assert site.service.clear(PATH)["limits"]["rate_per_second"] == 60
    assert (row(site)["declared"], row(site)["overridden"]) == (None, [])
