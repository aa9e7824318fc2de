"""IAM policies of queues: stored, given back and guarded against lost updates; nobody is refused by them."""

import secrets
from asyncio import Lock

from headrace.cloud import names
from headrace.cloud.descriptors import Message, message_class
from headrace.cloud.documents import Documents
from headrace.cloud.errors import ApiError, Code, bad_mask, invalid, queue_missing
from headrace.cloud.services import Rpc
from headrace.engine.engine import Engine

Policy = message_class("google.iam.v1.Policy")
GetIamPolicyRequest = message_class("google.iam.v1.GetIamPolicyRequest")
SetIamPolicyRequest = message_class("google.iam.v1.SetIamPolicyRequest")
TestIamPermissionsRequest = message_class("google.iam.v1.TestIamPermissionsRequest")
TestIamPermissionsResponse = message_class("google.iam.v1.TestIamPermissionsResponse")

PERMISSIONS = frozenset(
    f"cloudtasks.{kind}.{verb}"
    for kind, verbs in {
        "queues": "create delete get getIamPolicy list pause purge resume setIamPolicy update",
        "tasks": "create delete fullView get list run",
        "locations": "get list",
        "cmekConfig": "get update",
    }.items()
    for verb in verbs.split()
)
"""All that Cloud Tasks has (its access control reference)."""
MAX_MEMBERS = 1500
"""Members in all bindings of one policy (google.iam.v1.Policy.bindings)."""

_NO_ETAG = b"\x00\x20\x01"
"""The etag of a queue whose policy was never set; gcloud shows it as ACAB."""
_FIELDS = ("version", "bindings", "audit_configs", "etag")
_DEFAULT_MASK = ("bindings", "etag")


class Policies:
    """The policies of one engine's queues. `rpcs` holds the methods, by name."""

    def __init__(self, engine: Engine, documents: Documents) -> None:
        self._engine = engine
        self._documents = documents
        self._changing = Lock()  # an etag is compared before a policy is written
        self.rpcs: dict[str, Rpc] = {
            "GetIamPolicy": Rpc(GetIamPolicyRequest, self.get_policy),
            "SetIamPolicy": Rpc(SetIamPolicyRequest, self.set_policy),
            "TestIamPermissions": Rpc(TestIamPermissionsRequest, self.test_permissions),
        }

    async def get_policy(self, request: Message) -> Message:
        """The policy of a queue, whole, whatever version is asked for; an empty one when none was set."""
        _check_version(request.options.requested_policy_version)
        return self._find(self._check_queue(request.resource))

    async def set_policy(self, request: Message) -> Message:
        """Replace a queue's policy, or the parts that the mask names (bindings alone, without a mask).

        ABORTED when the request carries the etag of another policy than the stored one.
        """
        queue = self._check_queue(request.resource)
        mask = tuple(request.update_mask.paths) or _DEFAULT_MASK
        for path in mask:
            if path not in _FIELDS:
                raise bad_mask("Policy", path)
        _check_policy(request.policy)
        async with self._changing:
            current = self._find(queue)
            if request.policy.etag not in (b"", current.etag):
                raise ApiError(
                    Code.ABORTED,
                    "There were concurrent policy changes. "
                    "Please retry the whole read-modify-write with exponential backoff.",
                )
            policy = _merge(current, request.policy, mask)
            await self._documents.put(queue, policy.SerializeToString())
            return policy

    async def test_permissions(self, request: Message) -> Message:
        """Of the asked permissions those that Cloud Tasks has; of a queue that is missing, none.

        The server asks no caller who it is, so each caller may do everything.
        """
        queue = names.check_queue(request.resource)
        if any("*" in permission for permission in request.permissions):
            raise invalid("Permissions with wildcards are not allowed.")
        if self._engine.get_queue(queue) is None:
            return TestIamPermissionsResponse()
        return TestIamPermissionsResponse(permissions=[asked for asked in request.permissions if asked in PERMISSIONS])

    async def forget(self, queue: str) -> None:
        """The queue is about to go, and its policy with it."""
        await self._documents.remove(queue)

    def _check_queue(self, name: str) -> str:
        if self._engine.get_queue(names.check_queue(name)) is None:
            raise queue_missing()
        return name

    def _find(self, queue: str) -> Message:
        written = self._documents.get(queue)
        return Policy(etag=_NO_ETAG) if written is None else Policy.FromString(written)


def _check_version(version: int) -> None:
    if version not in (0, 1, 3):
        raise invalid(f"Policy version {version} is not one of 0, 1 and 3.")


def _check_policy(policy: Message) -> None:
    _check_version(policy.version)
    if policy.version != 3 and any(binding.HasField("condition") for binding in policy.bindings):
        raise invalid("A policy with a condition must have version 3.")
    if any(not binding.role for binding in policy.bindings):
        raise invalid("Each binding of a policy must have a role.")
    if sum(len(binding.members) for binding in policy.bindings) > MAX_MEMBERS:
        raise invalid(f"A policy can have at most {MAX_MEMBERS} members.")


def _merge(current: Message, asked: Message, mask: tuple[str, ...]) -> Message:
    """The stored policy with the asked parts, under a new etag; bindings bring their version with them."""
    policy = Policy()
    policy.CopyFrom(current)
    if "bindings" in mask:
        policy.ClearField("bindings")
        policy.bindings.MergeFrom(asked.bindings)
    if "audit_configs" in mask:
        policy.ClearField("audit_configs")
        policy.audit_configs.MergeFrom(asked.audit_configs)
    if "bindings" in mask or "version" in mask:
        policy.version = asked.version
    policy.etag = secrets.token_bytes(8)
    return policy
