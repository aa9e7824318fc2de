"""The request that a firing makes of its job's target.

The headers are those that Cloud Scheduler v1 documents for HttpTarget and AppEngineHttpTarget. Their defaults,
User-Agent and Content-Type, are stored with the target's own.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from headrace.engine.dispatcher import TokenSource
from headrace.engine.errors import TargetUnreachable
from headrace.engine.jobs import Job, PubsubTarget
from headrace.engine.model import AppEngineRouting, AppEngineTarget, HttpTarget, OidcToken
from headrace.engine.reach import TargetRules
from headrace.engine.scheduler import Send
from headrace.engine.target import addressed
from headrace.engine.transport import Transport

_RESERVED = ("x-cloudscheduler", "x-appengine-", "x-google-")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the targets are that name no address.

    `app_engine` gives the base URL of a part of the application; requests there carry an identity token of
    `account` for that URL, for off App Engine nothing keeps others from sending X-Appengine headers. `pubsub` is
    the base URL of Pub/Sub's REST API, or the host:port of an emulator; None: there is none.
    """

    app_engine: Callable[[AppEngineRouting], str]
    account: str
    pubsub: str | None


def make_send(transport: Transport, tokens: TokenSource, places: Places) -> Send:
    """What sends the requests of firings, through `transport`."""

    async def send(job: Job, scheduled_at: float) -> int:
        request = compose_job_request(job, scheduled_at, places)
        headers = request.headers
        if request.authorization is not None:
            headers = (*headers, ("Authorization", f"Bearer {tokens.token(request.authorization)}"))
        answer = await transport.request(request.method, request.url, headers, request.body, job.attempt_deadline)
        return answer.status

    return send


def may_reach(job: Job, places: Places, reach: TargetRules | None) -> bool:
    """Whether a job may have its target. What a host's addresses alone can tell is left to each request."""
    if reach is None or (isinstance(job.target, PubsubTarget) and places.pubsub is None):
        return True
    return reach.may_aim(compose_job_request(job, 0.0, places).url)


def compose_job_request(job: Job, scheduled_at: float, places: Places) -> HttpTarget:
    """The request of a firing. Raises TargetUnreachable for a message when there is no Pub/Sub."""
    match job.target:
        case HttpTarget() as target:
            return _compose_http(job, target, scheduled_at)
        case AppEngineTarget() as target:
            return _compose_app_engine(job, target, scheduled_at, places)
        case PubsubTarget() as target:
            return _compose_publish(target, places.pubsub)


def _compose_http(job: Job, target: HttpTarget, scheduled_at: float) -> HttpTarget:
    token = addressed(target.authorization, target.url)
    headers = (*_kept(target.headers, replaced=token is not None), *_firing_headers(job, scheduled_at))
    return HttpTarget(target.url, target.method, headers, target.body, token)


def _compose_app_engine(job: Job, target: AppEngineTarget, scheduled_at: float, places: Places) -> HttpTarget:
    base = places.app_engine(target.routing).rstrip("/")
    headers = (
        *_kept(target.headers, replaced=True),
        ("X-Appengine-Cron", "true"),
        *_firing_headers(job, scheduled_at),
    )
    return HttpTarget(base + target.relative_uri, target.method, headers, target.body, OidcToken(places.account, base))


def _compose_publish(target: PubsubTarget, endpoint: str | None) -> HttpTarget:
    if endpoint is None:
        raise TargetUnreachable(
            "There is no Pub/Sub to publish to.", hint="Give --pubsub-endpoint, or set PUBSUB_EMULATOR_HOST."
        )
    message = {"data": b64encode(target.data).decode(), "attributes": dict(target.attributes)}
    body = orjson.dumps({"messages": [message]})
    base = endpoint if "://" in endpoint else f"http://{endpoint}"
    url = f"{base.rstrip('/')}/v1/{target.topic}:publish"
    return HttpTarget(url, "POST", (("Content-Type", "application/json"),), body, None)


def _kept(headers: tuple[tuple[str, str], ...], *, replaced: bool) -> list[tuple[str, str]]:
    """The target's own headers that may be sent; `replaced`: the Authorization is not its own."""
    return [
        (name, value)
        for name, value in headers
        if not name.lower().startswith(_RESERVED) and not (replaced and name.lower() == "authorization")
    ]


def _firing_headers(job: Job, scheduled_at: float) -> list[tuple[str, str]]:
    time = datetime.fromtimestamp(scheduled_at, UTC).isoformat().replace("+00:00", "Z")
    return [
        ("X-CloudScheduler", "true"),
        ("X-CloudScheduler-JobName", job.id),
        ("X-CloudScheduler-ScheduleTime", time),
    ]
