"""What a run is about: said by who pushes or starts it, or by its job's parameter, and found again by it."""

from pathlib import Path

import pytest

import headrace
from headrace.errors import ContractError
from headrace.operators.tasks import Filters
from headrace.service.current import service_of
from headrace.testing.service import ADMIN_TOKEN, ServiceUnderTest
from tests.runs.harbour import CONTRACT, CRON, MODULE, NOW, QUEUES, Harbour, harbour

__all__ = ["harbour"]
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SHIP = "parameters: [{name: ship, in: query, schema: {type: string, maxLength: 300}}]"


@pytest.fixture
def service(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> ServiceUnderTest:
    job = "x-job: {}, responses: *any}"
    contract = CONTRACT.replace(job, f"x-job: {{object: ship, overlap: allow}}, {SHIP}, responses: *any}}")
    assert contract != CONTRACT
    monkeypatch.setattr("tests.runs.harbour.CONTRACT", contract)
    monkeypatch.setattr(harbour.code, "weigh_all", weigh_all)
    harbour.code.crates.append("a")
    return harbour.serve()


def weigh_all(job: headrace.Job, ship: str = "") -> None:
    import harbour_of_tests as code

    job.split(code.weigh, lambda connection, after: iter(code.crates), key=code.crates.index)


def objects(service: ServiceUnderTest, about: str) -> list[str]:
    answer = service.client.get("/api/v1/runs", query_string={"object": about}, headers=ADMIN)
    return [each["run_id"] for each in answer.json["runs"]]


def test_a_jobs_run_is_about_the_value_of_the_parameter_that_its_x_job_names(service: ServiceUnderTest) -> None:
    first = service.start(f"{MODULE}.weigh_all", ship="Rhine")
    service.start(f"{MODULE}.weigh_all", ship="Elbe")
    none = service.start(f"{MODULE}.weigh_all")
    assert service.run(first)["object"] == "ship/Rhine"
    assert objects(service, "ship/Rhine") == [first]
    assert service.run(none)["object"] is None
    long = service.start(f"{MODULE}.weigh_all", ship="x" * 300)
    assert len(service.run(long)["object"]) == 200


def test_who_pushes_or_starts_says_what_it_is_about(service: ServiceUnderTest) -> None:
    import harbour_of_tests as code

    with service.transaction() as connection:
        pushed = headrace.push(connection, code.store, {"crate": 1}, object="user/7").run_id
        started = headrace.start(connection, code.weigh_all, {"ship": "Rhine"}, object="user/7")
    assert set(objects(service, "user/7")) == {pushed, started}
    listed = service_of(service.app).operators.tasks.list(Filters(object="user/7"), limit=5)["batches"]
    assert [each["run_id"] for each in listed] == [pushed]


def test_an_object_that_is_no_parameter_stops_the_start(tmp_path: Path, harbour: Harbour) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    contract = CONTRACT.replace("x-job: {}", "x-job: {object: ship}").replace("CAP", "{max-pending: 9}")
    for name, text in (
        ("openapi.yaml", contract.replace("MODULE", MODULE)),
        ("queue.yaml", QUEUES),
        ("cron.yaml", CRON),
    ):
        (folder / name).write_text(text)
    with pytest.raises(ContractError, match="ship is no parameter of this job"):
        ServiceUnderTest(folder, folder, now=NOW)
