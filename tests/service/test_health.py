"""Alive and ready."""

from tests.contract.application import Running


def test_a_process_that_answers_is_alive(running: Running) -> None:
    running.rooms.problem_found = "The database does not answer."

    assert running.client.get("/healthz").status_code == 200


def test_a_service_that_can_work_is_ready(running: Running) -> None:
    response = running.client.get("/readyz")

    assert (response.status_code, response.json) == (200, {"status": "ready", "reason": None})


def test_a_service_that_cannot_work_says_why(running: Running) -> None:
    running.rooms.problem_found = "The database is at 0001, the code at 0002."

    response = running.client.get("/readyz")

    assert response.status_code == 503
    assert response.json["reason"] == "The database is at 0001, the code at 0002."
