"""The form of a queue's limits, which the service and the queue server share."""

from collections.abc import Mapping

from headrace.errors import BadRequest

COUNTS = ("bucket_size", "max_concurrent_requests", "max_attempts", "max_doublings")
AMOUNTS = ("rate_per_second", "max_duration", "min_backoff", "max_backoff")


def read_limits(form: Mapping[str, str]) -> dict[str, float]:
    """The limits of a form that are others than it was shown with, by their names; counts are ints.

    Raises BadRequest. Bounds are the queue's business.
    """
    changed = [name for name in (*COUNTS, *AMOUNTS) if form.get(name, "").strip() != form.get(f"was_{name}")]
    return {name: _read(form, name, whole=name in COUNTS) for name in changed}


def _read(form: Mapping[str, str], name: str, *, whole: bool) -> float:
    text = form.get(name, "").strip()
    try:
        value = float(text)
        if not whole:
            return value
        if value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(f"{name} must be a {'whole number' if whole else 'number'}, not {text[:40]!r}.")
