"""The admin API of tasks, settings and workers over HTTP."""

from importlib.metadata import version
from typing import Any

import jsonschema_rs
import pytest

from headrace.database.states import BatchState
from headrace.errors import Overloaded
from headrace.service.current import service_of
from tests.service.test_admin_operators import ADMIN, Site, site

__all__ = ["site"]
CAP = "task_inline_max_concurrent"


def put(site: Site, value: Any, key: str = CAP) -> tuple[int, Any]:
    answer = site.client.put("/api/v1/settings", headers=ADMIN, json={"key": key, "value": value})
    return answer.status_code, answer.json


def test_tasks_are_listed_by_state_and_page_by_page(site: Site) -> None:
    listed = site.get("/api/v1/batches?limit=2")
    assert ([each["batch_id"] for each in listed["batches"]], listed["before"]) == ([3, 2], 2)
    assert [each["batch_id"] for each in site.get("/api/v1/batches?limit=2&before=2")["batches"]] == [1]
    assert site.get("/api/v1/batches?state=error")["batches"] == []
    assert len(site.get("/api/v1/batches?state=waiting&standalone=false&hide_successful=true")["batches"]) == 3
    assert site.get("/api/v1/batches?standalone=true") == {"batches": [], "before": None, "looked_at": None}
    assert len(site.get(f"/api/v1/batches?q={site.run_id[:6]}&queue=synchronizeAccessQueue")["batches"]) == 3
    assert site.get("/api/v1/batches/1")["display_state"] == "waiting"
    for wrong in ("state=odd", "limit=0", "limit=1001", "before=0", "standalone=perhaps", f"q={'x' * 201}"):
        assert site.client.get(f"/api/v1/batches?{wrong}", headers=ADMIN).status_code == 400, wrong
    assert site.client.get("/api/v1/batches").status_code == 401


def test_a_task_that_waits_is_cancelled_once_and_audited(site: Site) -> None:
    assert site.post("/api/v1/batches/1/cancel") == (204, None)
    status, answer = site.post("/api/v1/batches/1/cancel")
    assert (status, answer["errorCode"]) == (409, "WRONG_STATE")
    assert site.post("/api/v1/batches/4711/cancel")[0] == 404
    (row,) = site.get("/api/v1/audit")["audit"]
    assert (row["action"], row["object"], row["old"], row["new"]) == ("cancel_batch", "batch/1", "pushed", "cancelled")


def test_some_tasks_are_changed_at_once(site: Site) -> None:
    site.put_in_state(BatchState.DEAD, "exhausted")
    status, answer = site.post("/api/v1/batches:retry", {"batch_ids": [1, 2, 4711]})
    assert (status, answer["changed"]) == (200, 2)
    assert [each["batch_id"] for each in answer["refused"]] == [4711]
    assert site.post("/api/v1/batches:cancel", {"batch_ids": [1, 3]})[1]["changed"] == 1
    assert site.post("/api/v1/batches:discard", {"batch_ids": [3]}) == (200, {"changed": 1, "refused": []})
    for wrong in ({"batch_ids": []}, {"batch_ids": list(range(1, 1002))}, {"batch_ids": ["1"]}, {}):
        assert site.post("/api/v1/batches:retry", wrong)[0] == 400


@pytest.mark.parametrize("value", ["10", 10, 10.0])
def test_a_setting_takes_text_or_a_number_and_the_workers_show_it(site: Site, value: Any) -> None:
    status, answer = put(site, value)
    assert (status, answer["value"], answer["default"], answer["source"]) == (200, 10, 0, "override")
    shown = site.get("/api/v1/workers")
    assert (shown[CAP], type(shown[CAP])) == (10, int)
    (row,) = site.get(f"/api/v1/audit?object={CAP}")["audit"]
    assert (row["old"], row["new"]) == (None, "10")
    assert put(site, None)[1]["source"] == "default"
    assert site.get("/api/v1/workers")[CAP] == 0


@pytest.mark.parametrize("value", ["ten", -1, "-1", 1.5, 10_001, True, [1]])
def test_a_setting_refuses_what_it_does_not_take(site: Site, value: Any) -> None:
    status, answer = put(site, value)
    assert status == 400
    if not isinstance(value, list | bool):
        assert "a whole number from 0 to 10,000" in answer["message"]
    assert put(site, "1", key="no_such_setting")[0] == 404


WORKERS = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "login_worker_mode",
        "login_worker_max_concurrent",
        "proxy_mode",
        "tenant_version",
        "task_max_concurrent",
        CAP,
        "agents",
        "pools",
    ],
    "properties": {
        "login_worker_mode": {"const": "inline"},
        "login_worker_max_concurrent": {"const": 0},
        "proxy_mode": {"const": ""},
        "tenant_version": {"const": version("headrace")},
        "task_max_concurrent": {"const": 0},
        CAP: {"type": "integer"},
        "agents": {"const": []},
        "pools": {"const": []},
    },
}


def test_workers_have_exactly_the_shape_that_callers_know_and_need_a_token(site: Site) -> None:
    jsonschema_rs.validator_for(WORKERS).validate(site.get("/api/v1/workers"))
    assert site.client.get("/api/v1/workers").status_code == 401
    assert site.client.get("/api/v1/workers/hints").status_code == 401


def test_hints_tell_of_a_cap_that_is_reached_while_tasks_wait(site: Site) -> None:
    assert site.get("/api/v1/workers/hints") == {"hints": []}
    put(site, 1)
    with site.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE headrace_batches SET state = 'running', started_at = 0, lease_until = 9000000000000 WHERE id = 1"
        )
    (hint,) = site.get("/api/v1/workers/hints")["hints"]
    assert hint["symptom"] == 'Tasks stay in "pending"'
    assert hint["cause"] == "Concurrency cap reached: 1 of 1 run"


def test_hints_tell_of_load_that_is_shed_by_a_limit_that_was_set_meanwhile(site: Site) -> None:
    admit = service_of(site.client.application).admit_batch
    admit()
    assert put(site, 1, key="shed_memory")[0] == 200
    (hint,) = site.get("/api/v1/workers/hints")["hints"]
    assert "Load shedding: memory at" in hint["cause"]
    with pytest.raises(Overloaded, match="memory at"):
        admit()
    put(site, None, key="shed_memory")
    admit()
