"""Pages of lists: sizes and tokens."""

import base64
import binascii

from headrace.cloud.errors import ApiError, invalid


def page_size(asked: int, most: int) -> int:
    """How many items a page holds at most; 0 asks for as many as may be."""
    if asked < 0:
        raise invalid("The page size cannot be negative.")
    return min(asked or most, most)


def write_token(place: str) -> str:
    """The token of the page after a place."""
    return base64.urlsafe_b64encode(place.encode()).decode()


def read_token(token: str) -> str:
    """The place of a token; "" for the first page."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise bad_token() from error


def bad_token() -> ApiError:
    """The token was not made by `write_token`."""
    return invalid("The page token is not one that this method gave.")
