"""Ids of rows, as addresses and forms bring them."""

LARGEST = 2**63 - 1
"""The largest that a database keeps."""


def read_id(text: str) -> int | None:
    """The id; None for what is none. One that is too large is the largest: no row has it."""
    if not (text.isascii() and text.isdecimal()):
        return None
    # Python refuses to read numbers of thousands of digits.
    return min(int(text), LARGEST) if len(text) < len(str(LARGEST)) + 1 else LARGEST
