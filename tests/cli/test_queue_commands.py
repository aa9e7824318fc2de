"""`headrace queues` that show and steer, and `headrace tasks run`: on a real service and a real queue server."""

from typing import Any

from click.testing import CliRunner

from headrace.cli import main
from tests.cli.test_operator_commands import Gauges, gauges
from tests.e2e.site import wait_until

__all__ = ["gauges"]


def row(gauges: Gauges) -> dict[str, Any]:
    return next(each for each in gauges.ask("queues", "list") if each["queue"] == "slowQueue")


def test_a_queue_is_paused_one_of_its_tasks_run_and_the_rest_purged(gauges: Gauges) -> None:
    assert "is paused" in gauges.run("queues", "pause", "slowQueue")
    run_id = gauges.start("dredge")
    wait_until("The tasks", lambda: row(gauges)["waiting"] == 3, every=0.1)
    listed = gauges.run("queues", "list")
    assert "slowQueue" in listed
    assert "paused" in listed
    batch_id = str(gauges.service.ask("/api/v1/queues/slowQueue")["tasks"][0]["batch_id"])
    assert "is pushed" in gauges.run("tasks", "run", batch_id)
    wait_until("The task", lambda: row(gauges)["waiting"] == 2, every=0.1)
    assert "cannot be run now" in gauges.refused("tasks", "run", batch_id)
    asked = CliRunner().invoke(main, ["queues", "purge", "slowQueue", "--app", str(gauges.folder)], input="n\n")
    assert (asked.exit_code, "End 2 tasks" in asked.output) == (1, True)
    assert gauges.ask("queues", "purge", "slowQueue", "--yes") == {"purged": 2}
    assert gauges.end_of(run_id)["state"] == "completed"
    assert gauges.ask("queues", "resume", "slowQueue") == {}
    assert row(gauges)["state"] == "running"


def test_limits_are_set_over_the_file_and_given_back(gauges: Gauges) -> None:
    said = gauges.run("queues", "limit", "slowQueue", "--rate", "2.5", "--max-attempts", "-1")
    assert "slowQueue: 2.5/s, bucket 1, 1000 at once, attempts: no limit" in said
    assert row(gauges)["overridden"] == ["max_attempts", "rate_per_second"]
    assert gauges.ask("queues", "limit", "slowQueue", "--bucket-size", "7")["limits"]["bucket_size"] == 7
    answer = gauges.ask("queues", "reset", "slowQueue")
    assert (answer["limits"]["bucket_size"], answer["declared"]) == (1, None)
    assert "no queue nowhere" in gauges.refused("queues", "pause", "nowhere")
    nothing = CliRunner().invoke(main, ["queues", "limit", "slowQueue"])
    assert (nothing.exit_code, "Say which limit" in nothing.output) == (2, True)
