"""alerts.yaml: where alerts are sent. HEADRACE_ALERT_ROUTES may hold the same text, and is asked first.

What is secret is not in the file: it names the environment variable that has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from headrace.config.document import Document, parse_document, read_document
from headrace.config.schema import FileSchema, Parsed, check, listed, refuse
from headrace.config.values import flag, matching, sentence, whole

VARIABLE: Final = "HEADRACE_ALERT_ROUTES"
FILE: Final = "alerts.yaml"
_URL: Final = r"https?://[^\s/]+(?:/\S*)?"
_ADDRESS: Final = r"[^@\s<>,]+@[^@\s<>,]+"


class Rule(StrEnum):
    """What is watched; a route may take some of them alone. `headrace.alerts.rules` says when each holds."""

    DEAD = "dead"
    FAILING = "failing"
    WAITING = "waiting"
    UNDECIDED = "undecided"
    STUCK = "stuck"
    LATE = "late"
    RUN_FAILED = "run-failed"
    QUEUE_FULL = "queue-full"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A JSON POST to a URL, signed where there is a secret."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Chat:
    """A POST of `{"text": …}`, as Slack, Mattermost and Google Chat take it. The URL is a secret."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail over SMTP. `starttls` asks for encryption before anything is told, and goes no further without."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    starttls: bool = True
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A place where alerts are sent; all of them where `rules` is empty."""

    name: str
    target: Webhook | Chat | Mail
    rules: tuple[str, ...] = ()

    def takes(self, rule: str) -> bool:
        """Whether alerts of a rule go here."""
        return not self.rules or rule in self.rules


def load_routes(environment: Mapping[str, str], folder: Path, *, need_secrets: bool = True) -> tuple[Route, ...]:
    """The routes of the variable, or else of the file; none where there is neither.

    A route whose secret is not in the environment is a fault; where none are needed, it is left out.

    Raises ConfigError with every fault.
    """
    document = _document(environment.get(VARIABLE), folder / FILE)
    if document is None:
        return ()
    loaded, faults = check(_RoutesSchema(), document)
    routes: list[Route] = []
    for section, make in _KINDS.items():
        for index, entry in enumerate(loaded.get(section, [])):
            place = document.place((section, index))
            values = _with_secrets(entry, environment)
            unset = _unset(entry, values)
            if entry["name"] in {route.name for route in routes}:
                faults.append(place.fault(f"another route is called {entry['name']}"))
            if need_secrets:
                faults += [place.fault(f"the environment variable {name} is not set") for name in unset]
            if not unset:
                routes.append(Route(entry["name"], make(values), tuple(entry["rules"])))
    refuse(faults)
    return tuple(routes)


def _document(inline: str | None, path: Path) -> Document | None:
    if inline:
        return parse_document(inline, VARIABLE)
    return read_document(path) if path.exists() else None


class _RouteSchema(FileSchema):
    name = Parsed(matching(r"[a-z0-9][a-z0-9-]{0,39}", "must be of a-z, 0-9 and -, at most 40"), missing="is missing")
    rules = fields.List(
        fields.String(validate=validate.OneOf(list(Rule), error="must be one of {choices}")), load_default=list
    )


class _PostSchema(_RouteSchema):
    url = Parsed(matching(_URL, "must be an http or https URL"))
    url_from = Parsed(sentence)

    @validates_schema
    def _one_url(self, data: dict[str, Any], **_: Any) -> None:
        if ("url" in data) == ("url_from" in data):
            raise ValidationError("one of url and url_from is needed", "name")


class _WebhookSchema(_PostSchema):
    secret_from = Parsed(sentence)


class _MailSchema(_RouteSchema):
    host = Parsed(matching(r"[^\s:/]+", "must be the name of a host"), missing="is missing")
    port = Parsed(whole(1, 65_535))
    starttls = Parsed(flag)
    user = Parsed(sentence)
    password_from = Parsed(sentence)
    sender = Parsed(matching(_ADDRESS, "must be a mail address"), missing="is missing")
    to = fields.List(
        Parsed(matching(_ADDRESS, "must be a mail address")),
        required=True,
        error_messages={"required": "is missing"},
        validate=validate.Length(1, error="must name somebody"),
    )

    @validates_schema
    def _whole_login(self, data: dict[str, Any], **_: Any) -> None:
        if ("user" in data) != ("password_from" in data):
            raise ValidationError("goes with password_from, and only with it", "user")


class _RoutesSchema(FileSchema):
    webhook = listed(_WebhookSchema)
    chat = listed(_PostSchema)
    mail = listed(_MailSchema)


def _with_secrets(entry: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """An entry in which `x_from` has become `x`: what that variable holds."""
    return {
        key.removesuffix("_from"): environment.get(value, "") if key.endswith("_from") else value
        for key, value in entry.items()
    }


def _unset(entry: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    return [value for key, value in entry.items() if key.endswith("_from") and not values[key.removesuffix("_from")]]


def _webhook(values: Mapping[str, Any]) -> Webhook:
    return Webhook(values["url"], values.get("secret"))


def _chat(values: Mapping[str, Any]) -> Chat:
    return Chat(values["url"])


def _mail(values: Mapping[str, Any]) -> Mail:
    return Mail(
        host=values["host"],
        port=values.get("port", 587),
        sender=values["sender"],
        to=tuple(values["to"]),
        starttls=values.get("starttls", True),
        user=values.get("user"),
        password=values.get("password"),
    )


_KINDS: Final[dict[str, Callable[[Mapping[str, Any]], Webhook | Chat | Mail]]] = {
    "webhook": _webhook,
    "chat": _chat,
    "mail": _mail,
}
