"""Who may call an operation. Every operation has one guard; only a public one lets everybody in."""

import hmac
from ipaddress import ip_address

from werkzeug.wrappers import Request

from headrace.config.settings import Platform, Settings
from headrace.contract.operations import Guard, Operation, Permission
from headrace.contract.principals import Authenticator
from headrace.contract.tokens import TokenVerifier
from headrace.errors import Forbidden, Unauthenticated

CRON_HEADER = "X-Appengine-Cron"
QUEUE_HEADER = "X-CloudTasks-QueueName"
CALLER = "headrace.caller"
"""Where the WSGI environment of an admitted request has its caller's name, if an x-guard gave one."""
OPERATOR = "headrace.operator"
"""Where it has the name of the operator who makes it, by the admin API."""


class Guards:
    """Admits requests by their headers and peer, before anything of their body is read. Thread-safe."""

    def __init__(self, settings: Settings, verifier: TokenVerifier, operators: Authenticator) -> None:
        self._settings = settings
        self._verifier = verifier
        self._operators = operators
        self._checks = {
            Guard.CRON: self._admit_cron,
            Guard.TASK_QUEUE: self._admit_task_queue,
            Guard.ADMIN: self._admit_admin,
            Guard.CALLER: self._admit_caller,
            Guard.PUBLIC: self._admit_everybody,
        }

    def admit(self, operation: Operation, request: Request) -> None:
        """Return when the request may go on.

        Raises Unauthenticated for a token that is missing, does not verify or is revoked, Forbidden for all else.
        """
        self._checks[operation.guard](operation, request)

    def admit_metrics(self, request: Request) -> None:
        """Return when the request may read the metrics: with their token, or an operator's with the permission read.

        In development loopback needs none. Raises Unauthenticated and Forbidden.
        """
        token = _bearer(request)
        wanted = self._settings.metrics_token
        if token is not None and wanted is not None and hmac.compare_digest(token.encode(), wanted.encode()):
            return
        if token is None and self._settings.development and self._is_loopback(request):
            return
        if self._operator_of(request, needs=Permission.READ) is not None:
            return
        raise Unauthenticated(
            "The metrics want a token.", hint="Set HEADRACE_METRICS_TOKEN, and send Authorization: Bearer <token>."
        )

    def _admit_cron(self, _operation: Operation, request: Request) -> None:
        # App Engine strips the header from requests that come from outside, so there it is proof enough.
        if request.headers.get(CRON_HEADER) == "true" and self._trusts_cron_header(request):
            return
        token = _bearer(request)
        if token is None:
            raise Forbidden(
                f"Only the scheduler may call this: {CRON_HEADER} is not true, or not to be trusted here.",
                hint=f"On your own machine send the header {CRON_HEADER}: true; elsewhere an OIDC token.",
            )
        account = self._settings.scheduler_service_account
        if account is None:
            raise Unauthenticated("This service knows no scheduler's account, so it takes no token of one.")
        self._verifier.verify(token, audience=self._settings.service_url, email=account)

    def _trusts_cron_header(self, request: Request) -> bool:
        if self._settings.platform is Platform.APP_ENGINE:
            return True
        return self._settings.development and self._is_loopback(request)

    def _is_loopback(self, request: Request) -> bool:
        # A tunnel or proxy on this machine is a loopback peer too, but what it forwards is not.
        if not self._settings.trusted_proxies and "X-Forwarded-For" in request.headers:
            return False
        try:
            return ip_address(request.remote_addr or "").is_loopback
        except ValueError:
            return False

    def _admit_task_queue(self, operation: Operation, request: Request) -> None:
        queue = request.headers.get(QUEUE_HEADER)
        if queue is None:
            raise Forbidden(f"Only a queue may call this: the header {QUEUE_HEADER} is missing.")
        if operation.task is None or queue != operation.task.queue:
            raise Forbidden(f"The queue that {QUEUE_HEADER} names does not serve this handler.")
        token = _bearer(request)
        if token is None:
            raise Unauthenticated("The push carries no token.", hint="The task needs an oidc_token.")
        self._verifier.verify(token, audience=self._settings.service_url, email=self._settings.task_service_account)

    def _admit_admin(self, operation: Operation, request: Request) -> None:
        if self._settings.admin_token is None:
            raise Unauthenticated("The admin API is closed.", hint="Set HEADRACE_ADMIN_TOKEN to open it.")
        name = self._operator_of(request, needs=operation.permission)
        if name is None:
            raise Unauthenticated("The admin API wants a token.", hint="Send Authorization: Bearer <token>.")
        request.environ[OPERATOR] = name

    def _operator_of(self, request: Request, *, needs: Permission) -> str | None:
        """The name of who brings an operator's token; None without one, or where the admin API is closed.

        Raises Forbidden, and has it written down.
        """
        token = _bearer(request)
        if token is None or self._settings.admin_token is None:
            return None
        principal = self._operators.by_token(token)
        if principal is None:
            return None
        if not principal.may(needs):
            self._operators.note_refusal(principal, needs, request.method, request.path)
            raise principal.lacks(needs)
        return principal.name

    def _admit_caller(self, operation: Operation, request: Request) -> None:
        name = operation.caller_of(_bearer(request)) if operation.caller_of is not None else None
        if name is None:
            raise Unauthenticated("This needs a token of yours.", hint="Send Authorization: Bearer <token>.")
        request.environ[CALLER] = name

    def _admit_everybody(self, _operation: Operation, _request: Request) -> None:
        return


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
