"""Every error's way out: one place turns exceptions into ErrorResponse answers."""

import math
import uuid
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from headrace.errors import (
    BadRequest,
    Conflict,
    HeadraceError,
    LostLease,
    Overloaded,
    RequestError,
    TooLarge,
    Unauthenticated,
)

_log = structlog.get_logger(__name__)


def answer_errors(app: Flask) -> None:
    """Make every exception of `app` an ErrorResponse with a unique id, which its log line has too."""
    app.register_error_handler(Exception, answer_error)


def answer_error(error: Exception) -> Response:
    """The ErrorResponse of one exception: {message, statusCode, errorCode, errorUniqueId, parameters}.

    What was raised to refuse a request tells its reason. Of everything else only the id goes out; the log has
    the rest.
    """
    unique_id = uuid.uuid4().hex
    status, code, message, parameters = _describe(error)
    # What the service turns away to shed load is no failure of its own.
    if status < 500 or isinstance(error, Overloaded):
        _log.info("request refused", errorUniqueId=unique_id, status=status, errorCode=code, reason=message)
    else:
        _log.error("request failed", errorUniqueId=unique_id, status=status, errorCode=code, exc_info=error)
    response = jsonify(
        message=message,
        statusCode=status,
        errorCode=code,
        errorUniqueId=unique_id,
        parameters=parameters,
    )
    response.status_code = status
    _add_headers(error, response)
    return response


def _describe(error: Exception) -> tuple[int, str, str, dict[str, Any]]:
    if isinstance(error, RequestError | LostLease):
        parameters = {"pointer": error.pointer} if isinstance(error, BadRequest) and error.pointer else {}
        return error.status, error.code, str(error), parameters
    if isinstance(error, HeadraceError):
        return error.status, error.code, _phrase(error.status), {}
    if isinstance(error, HTTPException) and error.code is not None:
        if error.code == TooLarge.status:
            return error.code, TooLarge.code, "The body is larger than this service takes.", {}
        return error.code, HTTPStatus(error.code).name, f"{HTTPStatus(error.code).description}.", {}
    return HeadraceError.status, HeadraceError.code, _phrase(HeadraceError.status), {}


def _phrase(status: int) -> str:
    return "internal error" if status == 500 else HTTPStatus(status).phrase.lower()


def _add_headers(error: Exception, response: Response) -> None:
    if isinstance(error, Conflict | Overloaded):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, HTTPException):
        # 405 names the methods that are allowed; a redirect its target.
        for name, value in error.get_headers():
            if name.lower() not in {"content-type", "content-length"}:
                response.headers[name] = value
