"""IAM policies of queues, through the official client."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Aborted, InvalidArgument, NotFound
from google.cloud.tasks_v2 import CloudTasksClient
from google.iam.v1 import policy_pb2
from google.type import expr_pb2

from tests.cloud.conftest import LOCATION
from tests.cloud.inside import LOCATION as INSIDE
from tests.cloud.inside import QUEUE, running

MISSING = f"{LOCATION}/queues/no-such-queue"
ENQUEUER = policy_pb2.Binding(role="roles/cloudtasks.enqueuer", members=["user:a@example.com"])
VIEWER = policy_pb2.Binding(role="roles/cloudtasks.viewer", members=["user:b@example.com"])


def set_policy(client: CloudTasksClient, queue: str, policy: policy_pb2.Policy, *mask: str) -> policy_pb2.Policy:
    request: dict[str, Any] = {"resource": queue, "policy": policy}
    if mask:
        request["update_mask"] = {"paths": list(mask)}
    answer: policy_pb2.Policy = client.set_iam_policy(request=request)
    return answer


def test_a_queue_without_a_policy_has_an_empty_one(client: CloudTasksClient, queue: str) -> None:
    assert client.get_iam_policy(resource=queue) == policy_pb2.Policy(etag=b"\x00\x20\x01")


def test_a_policy_that_was_read_can_be_written_once(client: CloudTasksClient, queue: str) -> None:
    policy = client.get_iam_policy(resource=queue)
    policy.bindings.append(ENQUEUER)
    written = set_policy(client, queue, policy)
    assert list(written.bindings) == [ENQUEUER]
    assert written.etag not in (b"", policy.etag)
    assert client.get_iam_policy(resource=queue) == written
    with pytest.raises(Aborted, match="concurrent policy changes"):
        set_policy(client, queue, policy)
    assert client.get_iam_policy(resource=queue) == written


def test_a_policy_without_an_etag_replaces_any(client: CloudTasksClient, queue: str) -> None:
    set_policy(client, queue, policy_pb2.Policy(bindings=[ENQUEUER]))
    set_policy(client, queue, policy_pb2.Policy(bindings=[VIEWER]))
    assert list(client.get_iam_policy(resource=queue).bindings) == [VIEWER]


def test_a_mask_says_which_parts_of_a_policy_are_replaced(client: CloudTasksClient, queue: str) -> None:
    audit = policy_pb2.AuditConfig(service="allServices")
    set_policy(client, queue, policy_pb2.Policy(bindings=[ENQUEUER], audit_configs=[audit]))
    assert not client.get_iam_policy(resource=queue).audit_configs
    set_policy(client, queue, policy_pb2.Policy(audit_configs=[audit]), "audit_configs")
    policy = client.get_iam_policy(resource=queue)
    assert (list(policy.bindings), list(policy.audit_configs)) == ([ENQUEUER], [audit])


@pytest.mark.parametrize(
    ("policy", "mask"),
    [
        (policy_pb2.Policy(version=2), ()),
        (policy_pb2.Policy(bindings=[{"members": ["allUsers"]}]), ()),
        (policy_pb2.Policy(bindings=[{"role": "r", "members": ["allUsers"] * 1501}]), ()),
        (policy_pb2.Policy(version=1, bindings=[policy_pb2.Binding(role="r", condition=expr_pb2.Expr(title="t"))]), ()),
        (policy_pb2.Policy(bindings=[ENQUEUER]), ("nothing",)),
    ],
)
def test_a_policy_that_is_none_is_refused(
    policy: policy_pb2.Policy, mask: tuple[str, ...], client: CloudTasksClient, queue: str
) -> None:
    with pytest.raises(InvalidArgument):
        set_policy(client, queue, policy, *mask)


def test_a_missing_queue_has_no_policy(client: CloudTasksClient) -> None:
    with pytest.raises(NotFound):
        client.get_iam_policy(resource=MISSING)
    with pytest.raises(NotFound):
        set_policy(client, MISSING, policy_pb2.Policy())


def test_all_permissions_of_cloud_tasks_are_granted_on_a_queue_that_is_there(
    client: CloudTasksClient, queue: str
) -> None:
    asked = ["cloudtasks.tasks.create", "cloudtasks.queues.get", "storage.objects.get", "cloudtasks.tasks.nothing"]
    set_policy(client, queue, policy_pb2.Policy(bindings=[VIEWER]))
    assert list(client.test_iam_permissions(resource=queue, permissions=asked).permissions) == asked[:2]
    assert not client.test_iam_permissions(resource=MISSING, permissions=asked).permissions
    with pytest.raises(InvalidArgument, match="wildcards"):
        client.test_iam_permissions(resource=queue, permissions=["cloudtasks.*"])


def test_a_policy_outlives_the_server_and_dies_with_its_queue(tmp_path: Path) -> None:
    file_queue = f"{QUEUE}-2"

    async def before_a_restart() -> None:
        async with running(tmp_path) as api:
            for name in (QUEUE, file_queue):
                await api.call("CreateQueue", parent=INSIDE, queue={"name": name})
                await api.call("SetIamPolicy", resource=name, policy={"bindings": [{"role": "r", "members": ["m"]}]})

    async def after_it() -> None:
        async with running(tmp_path) as api:
            assert (await api.call("GetIamPolicy", resource=QUEUE)).bindings
            queue = api.engine.get_queue(file_queue)
            assert queue is not None
            await api.call("DeleteQueue", name=file_queue)
            await api.engine.put_queue(queue)
            assert not (await api.call("GetIamPolicy", resource=file_queue)).bindings
            await api.api.clear()
            assert not (await api.call("GetIamPolicy", resource=QUEUE)).bindings

    asyncio.run(before_a_restart())
    asyncio.run(after_it())
