"""The admin API of the tokens of operators."""

from typing import Any

from flask import request

from headrace.operators.tokens import Tokens
from headrace.service.current import current_service, operator


def list_tokens(limit: int = 50) -> dict[str, Any]:
    """Tokens, those that are live first, at most `limit`; never what their bearers send."""
    return {"tokens": tokens_of_service().list(limit=limit)}


def issue_token() -> dict[str, Any]:
    """Issue a token with the name and the permissions of the body; this answer alone tells it.

    Raises BadRequest and WrongState.
    """
    asked = request.get_json()
    return tokens_of_service().issue(asked["name"], asked["permissions"], actor=operator())


def revoke_token(token_id: int) -> None:
    """End a token.

    Raises NotFound and WrongState.
    """
    tokens_of_service().revoke(token_id, actor=operator())


def tokens_of_service() -> Tokens:
    """The tokens of the service of this request."""
    tokens = current_service().tokens
    if tokens is None:
        raise RuntimeError("This service was put together without a database.")
    return tokens
