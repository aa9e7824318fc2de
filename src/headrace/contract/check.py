"""Do openapi.yaml, the code, queue.yaml and cron.yaml fit together? One list, for start-up and `headrace check`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import structlog

from headrace.config.crons import CronFile, load_cron_file
from headrace.config.queues import QueueEntry, QueueFile, load_queue_file
from headrace.config.settings import Settings
from headrace.contract.agreement import disagreements
from headrace.contract.binding import add_to_path
from headrace.contract.document import Document, read_document
from headrace.contract.includes import INCLUDE, include
from headrace.contract.operations import Contract, Operation, QueueOptions
from headrace.contract.options import OptionFaults, read_queue_options, suggestion
from headrace.contract.reading import declared_operations, read_operations
from headrace.contract.schemas import Schemas
from headrace.contract.structure import structure_faults
from headrace.errors import ConfigError, ContractError, Fault, Level

# Without the one or all of the others, a run could wait for ever for what a crash left undone.
ALL_SWEEPS = "headrace.service.sweeps.sweep"
REQUIRED_SWEEPS = tuple(f"headrace.service.sweeps.{name}" for name in ("relay", "reap", "reconcile", "resume"))

_File = TypeVar("_File")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Examination:
    """All faults, and the contract where none of them is an error."""

    contract: Contract | None
    faults: tuple[Fault, ...]


def check_application(folder: Path, settings: Settings) -> list[Fault]:
    """Every error and warning of the application in `folder`, in the order of the files."""
    return list(examine(folder, settings).faults)


def load_contract(folder: Path, settings: Settings) -> Contract:
    """The contract of the application in `folder`; its warnings are logged.

    Raises ContractError with everything that is wrong.
    """
    examination = examine(folder, settings)
    if examination.contract is None:
        raise ContractError(examination.faults)
    for fault in examination.faults:
        _log.warning("contract", fault=str(fault))
    return examination.contract


def read_contract(folder: Path) -> Document:
    """openapi.yaml of the application in `folder`, with what it takes from the package; not checked.

    Raises ContractError when it cannot be read.
    """
    return include(read_document(folder / "openapi.yaml"))


def examine(folder: Path, settings: Settings) -> Examination:
    """Read and compare everything that the application in `folder` declares."""
    add_to_path(folder)
    try:
        document = read_contract(folder)
    except ContractError as error:
        return Examination(None, error.faults)
    faults = structure_faults(document)
    if faults:
        return Examination(None, tuple(faults))
    reading = read_operations(document)
    faults.extend(reading.faults)
    faults.extend(_missing_sweeps(document))
    faults.extend(_payload_faults(document, reading.operations))
    queues = None
    try:
        queues = _load(load_queue_file, folder / "queue.yaml", settings)
        faults.extend(_queue_faults(document, reading.operations, queues))
    except ConfigError as error:
        faults.extend(error.faults)
    capped, cap_faults = _read_caps(document, queues)
    faults.extend(cap_faults)
    crons = None
    try:
        crons = _load(load_cron_file, folder / "cron.yaml", settings)
        faults.extend(_cron_faults(document, crons))
    except ConfigError as error:
        faults.extend(error.faults)
    if any(fault.level is Level.ERROR for fault in faults):
        return Examination(None, tuple(faults))
    entries = crons.entries if crons is not None else ()
    contract = Contract(reading.operations, capped, document.data, Schemas(document.data), entries)
    return Examination(contract, tuple(faults))


def _load(load: Callable[[Path, str], _File], path: Path, settings: Settings) -> _File | None:
    """The file, or None when there is none: an application need not have queues or schedules."""
    return load(path, settings.env) if path.exists() else None


def _missing_sweeps(document: Document) -> Iterator[Fault]:
    nodes = [declared.node for declared in declared_operations(document)]
    if not any("x-job" in node or "x-task" in node for node in nodes):
        return
    declared = {node.get("operationId") for node in nodes}
    if ALL_SWEEPS in declared:
        return
    for sweep in REQUIRED_SWEEPS:
        if sweep not in declared:
            yield document.fault(
                ("paths",),
                f"The sweep {sweep} is not declared, so a run could wait for ever after a crash. "
                f"Write {INCLUDE}: [sweeps] at the root, which declares all of them.",
            )


def _queue_faults(document: Document, operations: Sequence[Operation], file: QueueFile | None) -> Iterator[Fault]:
    queues = {queue.name: queue for queue in file.queues} if file is not None else {}
    used = set()
    for operation in operations:
        if operation.task is None:
            continue
        name = operation.task.queue
        used.add(name)
        place = ("paths", operation.path, operation.method.lower(), "x-task", "queue")
        if name not in queues:
            yield document.fault(
                place,
                f"The queue {name} of {operation.operation_id} is not in queue.yaml.{suggestion(name, list(queues))}",
            )
    for queue in queues.values():
        if queue.name not in used and file is not None:
            message = f"No handler does the tasks of {queue.name}."
            yield Fault(str(file.path), queue.line, 1, message, Level.WARNING)
    yield from file.warnings if file is not None else ()


def _read_caps(document: Document, file: QueueFile | None) -> tuple[dict[str, QueueOptions], list[Fault]]:
    """The queues of queue.yaml with what `x-queues` adds to them."""
    queues = {queue.name: _options_of(queue) for queue in (file.queues if file else ())}
    faults: list[Fault] = []
    caps = document.data.get("x-queues", {})
    if not isinstance(caps, dict):
        return queues, [document.fault(("x-queues",), "x-queues is a mapping of queues' names.")]
    for name, value in caps.items():
        if name not in queues:
            message = f"{name} is not in queue.yaml.{suggestion(name, list(queues))}"
            faults.append(document.fault(("x-queues", name), message))
            continue
        try:
            queues[name] = replace(queues[name], **read_queue_options(value))
        except OptionFaults as error:
            faults += [document.fault(("x-queues", name, key), message) for key, message in error.faults]
    return queues, faults


def _options_of(queue: QueueEntry) -> QueueOptions:
    return QueueOptions(
        queue.name,
        queue.retry.limits,
        rate_per_second=queue.rate_per_second,
        bucket_size=queue.bucket_size,
        max_concurrent_requests=queue.max_concurrent_requests,
    )


def _cron_faults(document: Document, file: CronFile | None) -> Iterator[Fault]:
    entries = file.entries if file is not None else ()
    paths = {declared.path: declared for declared in declared_operations(document) if declared.method == "get"}
    called = {urlsplit(entry.url).path for entry in entries}
    for entry in entries:
        path = urlsplit(entry.url).path
        if path not in paths and file is not None:
            message = f"{path} is no GET operation of openapi.yaml.{suggestion(path, list(paths))}"
            yield Fault(str(file.path), entry.line, 1, message, Level.WARNING)
    sweeps = {declared.node.get("operationId"): declared for declared in paths.values()}
    called_sweeps = {name for name, declared in sweeps.items() if declared.path in called}
    if ALL_SWEEPS in called_sweeps or called_sweeps.issuperset(REQUIRED_SWEEPS):
        return
    for name in (ALL_SWEEPS,) if ALL_SWEEPS in sweeps else REQUIRED_SWEEPS:
        if name in sweeps and name not in called_sweeps:
            message = f"No entry of cron.yaml calls {sweeps[name].path}; see that some scheduler does."
            yield document.fault(sweeps[name].place, message, Level.WARNING)


def _payload_faults(document: Document, operations: Sequence[Operation]) -> Iterator[Fault]:
    for operation in operations:
        if operation.task is None or operation.schema is None or operation.payload is None:
            continue
        place = ("paths", operation.path, operation.method.lower(), "x-task", "schema")
        for each in disagreements(operation.schema, document.data, operation.payload):
            yield document.fault(place, f"{operation.task.schema}: {each.pointer or '/'} {each.message}.")
