"""From the document to operations: the path decides the kind, the kind says what must stand there.

Reading collects faults instead of stopping at the first, so that one start tells everything that is wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Field

from headrace.contract.binding import NotBound, bind_function, find_guard, find_schema
from headrace.contract.document import Document
from headrace.contract.operations import (
    CRON_PREFIX,
    JSON,
    TASK_PREFIX,
    CallerOf,
    Guard,
    JobOptions,
    Kind,
    Operation,
    Permission,
    TaskOptions,
)
from headrace.contract.options import OptionFaults, read_job_options, read_task_options
from headrace.contract.references import Place, follow
from headrace.errors import Fault

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_METHODS_OF = {
    Kind.JOB: ("get",),
    Kind.SWEEP: ("get",),
    Kind.HANDLER: ("post",),
    Kind.REQUEST: ("get", "put", "post", "delete", "patch"),
}
_FIRST_PARAMETER = {Kind.JOB: "job", Kind.SWEEP: "", Kind.HANDLER: "batch", Kind.REQUEST: ""}
_GUARD_OF = {Kind.JOB: Guard.CRON, Kind.SWEEP: Guard.CRON, Kind.HANDLER: Guard.TASK_QUEUE}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, and what could not be."""

    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """An operation as the document declares it: where it stands, and its own mapping."""

    path: str
    method: str
    place: Place
    node: dict[str, Any]


def declared_operations(document: Document) -> Iterator[Declared]:
    """Every path and method of a document whose structure is known to be right."""
    for path in document.data.get("paths", {}):
        _, item = follow(document.data, ("paths", path))
        for method in _METHODS:
            if method in item:
                yield Declared(path, method, ("paths", path, method), item[method])


def read_operations(document: Document) -> Reading:
    """All operations that are sound, and a fault for whatever keeps one from being so."""
    operations: list[Operation] = []
    faults: list[Fault] = []
    first_lines: dict[str, int] = {}
    for declared in declared_operations(document):
        line, _ = document.start_of(declared.place)
        operation_id = declared.node.get("operationId")
        if operation_id in first_lines:
            faults.append(
                document.fault(
                    (*declared.place, "operationId"),
                    f"{operation_id} is bound already, in line {first_lines[operation_id]}.",
                )
            )
            continue
        if operation_id is not None:
            first_lines[operation_id] = line
        found = _Operation(document, declared)
        operation = found.read()
        faults.extend(found.faults)
        if operation is not None:
            operations.append(operation)
    return Reading(tuple(operations), tuple(faults))


class _Operation:
    """One operation while it is read; its faults gather on the way."""

    def __init__(self, document: Document, declared: Declared) -> None:
        self._document = document
        self._declared = declared
        self._node = declared.node
        self._kind = _kind_of(declared)
        self.faults: list[Fault] = []

    def read(self) -> Operation | None:
        self._check_method()
        guard = self._guard()
        caller_of = self._caller_of()
        job = self._job()
        task = self._task()
        parameters = self._parameters()
        payload = self._payload()
        schema = self._schema(task, payload)
        fallback = self._fallback(task)
        self._check_parameters(job, parameters)
        operation_id = self._node.get("operationId")
        if operation_id is None:
            self._fault((), "There is no operationId: the Python path of this operation's function.")
            return None
        try:
            function = bind_function(operation_id, _FIRST_PARAMETER[self._kind], parameters)
        except NotBound as error:
            self._fault(("operationId",), f"The operation {operation_id} has no function: {error}")
            return None
        if self.faults or guard is None:
            return None
        return Operation(
            path=self._declared.path,
            method=self._declared.method.upper(),
            operation_id=operation_id,
            kind=self._kind,
            function=function,
            guard=guard,
            permission=self._permission() or Permission.ADMIN,
            job=job,
            task=task,
            line=self._document.start_of(self._declared.place)[0],
            parameters=parameters,
            payload=payload,
            schema=schema,
            caller_of=caller_of,
            fallback=fallback,
        )

    def _fault(self, below: Place, message: str) -> None:
        self.faults.append(self._document.fault((*self._declared.place, *below), message))

    def _check_method(self) -> None:
        allowed = _METHODS_OF[self._kind]
        if self._declared.method not in allowed:
            self._fault((), f"A {self._kind.value} is called by {' or '.join(allowed).upper()}.")

    def _guard(self) -> Guard | None:
        security = self._node.get("security", self._document.data.get("security"))
        wanted = _GUARD_OF.get(self._kind)
        if wanted is not None:
            if security != [{wanted.value: []}]:
                self._fault(
                    ("security",),
                    f"{self._declared.path} stands open: everything under its prefix needs "
                    f"security: [{{{wanted.value}: []}}], and nothing beside it.",
                )
                return None
            return wanted
        if security is None:
            self._fault(
                (),
                f"{self._declared.path} says nothing of its security. Give [{{{Guard.ADMIN.value}: []}}], "
                "or [] when everybody may call it.",
            )
            return None
        if security == []:
            return Guard.PUBLIC
        if self._permission() is not None:
            return Guard.ADMIN
        if self._own_scheme() is not None:
            return Guard.CALLER
        self._fault(
            ("security",),
            f"A request is guarded by [{{{Guard.ADMIN.value}: []}}], which may name one of "
            f"{', '.join(Permission)}, or by a bearer scheme with x-guard, or open with [].",
        )
        return None

    def _permission(self) -> Permission | None:
        """What an operator needs to call this; None where it is guarded otherwise."""
        match self._node.get("security", self._document.data.get("security")):
            case [{Guard.ADMIN.value: []} as scheme] if len(scheme) == 1:
                return Permission.ADMIN
            case [{Guard.ADMIN.value: [str(name)]} as scheme] if len(scheme) == 1 and name in set(Permission):
                return Permission(name)
        return None

    def _own_scheme(self) -> Place | None:
        """Where the one scheme of this operation is declared, if it is the application's own."""
        security = self._node.get("security", self._document.data.get("security")) or []
        names = [name for each in security for name in each]
        schemes = self._document.data.get("components", {}).get("securitySchemes", {})
        if len(security) != 1 or len(names) != 1 or "x-guard" not in schemes.get(names[0], {}):
            return None
        return ("components", "securitySchemes", names[0])

    def _caller_of(self) -> CallerOf | None:
        place = self._own_scheme()
        if place is None:
            return None
        _, scheme = follow(self._document.data, place)
        if (scheme.get("type"), str(scheme.get("scheme")).lower()) != ("http", "bearer"):
            self.faults.append(self._document.fault(place, "x-guard stands on a scheme of type http, scheme bearer."))
            return None
        try:
            return find_guard(str(scheme["x-guard"]))
        except NotBound as error:
            self.faults.append(self._document.fault((*place, "x-guard"), f"x-guard: {error}"))
            return None

    def _job(self) -> JobOptions | None:
        if "x-job" not in self._node:
            return None
        if self._kind is not Kind.JOB:
            self._fault(("x-job",), f"x-job stands on paths under {CRON_PREFIX} alone.")
            return None
        try:
            return read_job_options(self._node["x-job"])
        except OptionFaults as error:
            self._option_faults("x-job", error)
            return None

    def _task(self) -> TaskOptions | None:
        if "x-task" not in self._node:
            if self._kind is Kind.HANDLER:
                self._fault((), "There is no x-task: a handler says whose tasks it does, x-task: {queue: …}.")
            return None
        if self._kind is not Kind.HANDLER:
            self._fault(("x-task",), f"x-task stands on paths under {TASK_PREFIX} alone.")
            return None
        try:
            return read_task_options(self._node["x-task"])
        except OptionFaults as error:
            self._option_faults("x-task", error)
            return None

    def _option_faults(self, key: str, error: OptionFaults) -> None:
        for option, message in error.faults:
            self._fault((key, option) if option else (key,), message)

    def _parameters(self) -> tuple[str, ...]:
        """Names of the path and query parameters: the operation's own and its path's."""
        names: dict[str, None] = {}
        item_place = self._declared.place[:-1]
        for holder in (self._declared.place, item_place):
            _, node = follow(self._document.data, holder)
            for index, _ in enumerate(node.get("parameters", [])):
                _, parameter = follow(self._document.data, (*holder, "parameters", str(index)))
                if parameter["in"] in {"path", "query"}:
                    names[parameter["name"]] = None
        return tuple(names)

    def _payload(self) -> Place | None:
        if "requestBody" not in self._node:
            return None
        place = (*self._declared.place, "requestBody", "content")
        _, content = follow(self._document.data, place)
        if set(content) != {JSON}:
            self._fault(("requestBody",), f"Bodies are {JSON}, and nothing else.")
            return None
        return (*place, JSON, "schema") if "schema" in content[JSON] else None

    def _check_parameters(self, job: JobOptions | None, parameters: tuple[str, ...]) -> None:
        for name in job.overlap_key if job is not None else ():
            if name not in parameters:
                self._fault(("x-job", "overlap-key"), f"{name} is no parameter of this job.")
        if job is not None and job.object is not None and job.object not in parameters:
            self._fault(("x-job", "object"), f"{job.object} is no parameter of this job.")

    def _fallback(self, task: TaskOptions | None) -> Callable[..., Any] | None:
        if task is None or task.fallback is None:
            return None
        try:
            return bind_function(task.fallback, "batch", ())
        except NotBound as error:
            self._fault(("x-task", "fallback"), str(error))
            return None

    def _schema(self, task: TaskOptions | None, payload: Place | None) -> Schema | Field[Any] | None:
        if task is None or task.schema is None:
            return None
        if payload is None:
            self._fault(("x-task", "schema"), "There is a marshmallow schema, but the operation has no body's schema.")
            return None
        try:
            return find_schema(task.schema)
        except NotBound as error:
            self._fault(("x-task", "schema"), str(error))
            return None


def _kind_of(declared: Declared) -> Kind:
    # The prefix itself, without the slash, is as guarded as what stands below it.
    path = f"{declared.path}/"
    if path.startswith(CRON_PREFIX):
        return Kind.JOB if "x-job" in declared.node else Kind.SWEEP
    return Kind.HANDLER if path.startswith(TASK_PREFIX) else Kind.REQUEST
