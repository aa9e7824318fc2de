"""Tasks that push tasks: each knows whose child it is, and is pushed when its parent commits."""

from collections import Counter

import headrace
from headrace.testing.service import ADMIN_TOKEN, ServiceUnderTest
from tests.runs.harbour import Harbour, harbour

__all__ = ["harbour"]


def unpack(service: ServiceUnderTest, harbour: Harbour, crates: int) -> str:
    with service.transaction() as connection:
        return headrace.push(connection, harbour.code.unpack, {"crates": crates}).run_id


def test_a_child_shows_its_parent_and_the_parent_its_children(harbour: Harbour) -> None:
    service = harbour.serve()
    run_id = unpack(service, harbour, 3)
    service.queue.drain()
    answer = service.client.get(f"/api/v1/runs/{run_id}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert answer.json is not None
    children = answer.json["children"]
    assert Counter((child["job"], child["state"], child["batch"]) for child in children) == {
        ("harbour_of_tests.store", "completed", 1): 3
    }
    assert all(service.run(child["run_id"])["parent"] == {"run_id": run_id, "batch": 1} for child in children)
    assert service.run(run_id)["parent"] is None
    assert sorted(payload["crate"] for payload in harbour.code.weighed) == [0, 1, 2]


def test_no_more_children_are_shown_than_fit_a_page(harbour: Harbour) -> None:
    service = harbour.serve()
    run_id = unpack(service, harbour, 30)
    assert service.queue.drain() == 31
    assert len(service.run(run_id)["children"]) == 20


def test_what_is_pushed_outside_a_handler_is_nobodys_child(harbour: Harbour) -> None:
    service = harbour.serve()
    run_id = unpack(service, harbour, 0)
    service.queue.drain()
    assert (service.run(run_id)["parent"], service.run(run_id)["children"]) == (None, [])


def test_a_parent_that_is_tried_again_has_the_children_of_the_attempt_that_was_kept(harbour: Harbour) -> None:
    service = harbour.serve()
    push, left = headrace.push, 2

    def fail_in_the_middle(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise ConnectionError("half way")
        return push(*arguments, **options)  # type: ignore[arg-type]

    run_id = unpack(service, harbour, 3)
    harbour.code.headrace = type("Half", (), {"push": staticmethod(fail_in_the_middle)})
    service.queue.drain(retries=1)
    assert len(service.run(run_id)["children"]) == 3
    assert len(harbour.code.weighed) == 3


def test_the_children_of_one_transaction_are_pushed_together(harbour: Harbour) -> None:
    service = harbour.serve("{max-pending: 10000}")
    calls: list[int] = []
    push_many = service.queue.push_many

    def count(pushes: list[object]) -> object:
        calls.append(len(pushes))
        return push_many(pushes)  # type: ignore[arg-type]

    service.queue.push_many = count  # type: ignore[method-assign, assignment]
    unpack(service, harbour, 25)
    service.queue.drain()
    assert calls == [1, 25]
