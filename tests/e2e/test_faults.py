"""What a death, a purge or an outage does to a run: it ends completed, and every user is right."""

import json
from math import ceil
from pathlib import Path

from headrace.database.tables import batches
from tests.e2e.site import Site, copy_for_faults, kill, queue_path, run_site, wait_until

RETRIED = "{min_backoff_seconds: 0.1, max_backoff_seconds: 0.5}"
NOT_RETRIED = "{task_retry_limit: 0}"


def assert_completed(site: Site, run: dict, *, users: int, batch_size: int) -> None:
    """The run is completed, each id was in one batch, and the independent check finds every user right."""
    assert run["state"] == "completed", run
    assert run["tasks"]["done"] == run["tasks"]["total"] == ceil(users / batch_size)
    assert [item for payload in site.payloads() for item in json.loads(payload)] == list(range(1, users + 1))
    assert site.verdict().faults == ()


def test_a_killed_queue_server_goes_on_where_it_was_when_it_is_back(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=10, rate=100, retry=RETRIED)
    with run_site(application, users=2_000) as site:
        site.call_job()
        wait_until("Some batches", site.is_under_way)
        start_again = site.kill_queue_server()
        assert site.done() < 200
        start_again()
        run = site.end(sweep=False)
        assert_completed(site, run, users=2_000, batch_size=10)


def test_batches_of_a_killed_worker_are_delivered_again(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=10, retry=RETRIED)
    with run_site(application, users=2_000) as site:
        site.call_job()
        kill(site.freeze_worker(lambda: site.running() > 0 and site.is_under_way()))
        held = site.running()
        run = site.end(sweep=False)
        assert_completed(site, run, users=2_000, batch_size=10)
        assert run["retries"] >= held > 0
        assert {trouble["outcome"] for trouble in run["troubles"]} == {"lost"}
        assert site.count(batches.c.generation > 1) == 0


def test_a_worker_that_dies_on_the_last_attempt_of_a_queue_costs_no_batch(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=10, retry=NOT_RETRIED)
    with run_site(application, users=2_000) as site:
        site.call_job()
        kill(site.freeze_worker(lambda: site.running() > 0 and site.is_under_way()))
        run = site.end()
        assert_completed(site, run, users=2_000, batch_size=10)
        assert site.count(batches.c.generation > 1) > 0


def test_a_split_whose_splitters_die_leaves_no_id_out_and_takes_none_twice(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=1, retry=RETRIED)
    with run_site(application, users=1_200) as site:
        site.queues.pause_queue(name=queue_path())
        site.call_job()
        kill(site.freeze_worker(lambda: site.is_in_split()))
        assert len(site.payloads()) < 1_200
        wait_until("The next splitter", site.has_swept_split_to_end)
        site.queues.resume_queue(name=queue_path())
        run = site.end()
        assert "split goes on" in site.log("service")
        assert_completed(site, run, users=1_200, batch_size=1)


def test_a_purged_queue_loses_no_batch(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=10, rate=100, retry=RETRIED)
    with run_site(application, users=2_000) as site:
        site.call_job()
        wait_until("Some batches", site.is_under_way)
        site.queues.purge_queue(name=queue_path())
        run = site.end()
        assert_completed(site, run, users=2_000, batch_size=10)
        assert site.count(batches.c.generation > 1) > 0


def test_a_split_without_a_queue_server_is_pushed_when_it_is_back(tmp_path: Path) -> None:
    application = copy_for_faults(tmp_path / "application", batch_size=1, retry=RETRIED)
    with run_site(application, users=1_200) as site:
        site.queues.pause_queue(name=queue_path())
        site.call_job()
        splitter = site.freeze_worker(lambda: site.is_in_split())
        start_again = site.kill_queue_server()
        splitter.resume()
        wait_until("The end of the split", lambda: not site.is_in_split())
        assert site.count(batches.c.state == "pending") > 0
        start_again()
        site.queues.resume_queue(name=queue_path())
        run = site.end()
        assert_completed(site, run, users=1_200, batch_size=1)
        assert run["attempts"] == run["tasks"]["total"]
