"""A stand-in for LDAP directories: searches with the paged results control, a page a call.

As with RFC 2696, a search begins with an empty cookie, each answer has the cookie of the next page, and an empty
one with the last. A cookie means nothing to callers. The trees are the tables `directory_entries` and
`directory_members`, which nothing but this module, the seed and the independent check reads.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from governance.tables import directory_entries, directory_members

USER = "user"
GROUP = "group"
PAGE_SIZE = 50
"""Entries of a page; the directory gives no more in one call."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a directory: `dn` is where it stands, `uuid` what it is wherever it stands."""

    dn: str
    uuid: str
    attributes: Mapping[str, str]
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in the directory's order, and the cookie of those behind them: "" where there are none."""

    entries: tuple[Entry, ...]
    cookie: str


def search(connection: Connection, source: str, kind: str, *, cookie: str = "", page_size: int = PAGE_SIZE) -> Page:
    """One page of the entries of a kind. ValueError for a page above `PAGE_SIZE`, or a cookie not of this directory."""
    if not 1 <= page_size <= PAGE_SIZE:
        raise ValueError(f"The directory gives 1 to {PAGE_SIZE} entries a page, not {page_size}.")
    here = directory_entries.c
    found = select(here.dn, here.uuid, here.attributes).where(here.source == source, here.kind == kind)
    if cookie:
        found = found.where(here.dn > _dn_of(cookie))
    # One more than asked for tells whether there is a next page.
    rows = connection.execute(found.order_by(here.dn).limit(page_size + 1)).all()
    dns = [row.dn for row in rows[:page_size]]
    members = _members(connection, source, dns) if kind == GROUP else {}
    entries = tuple(
        Entry(dn, uuid, attributes, tuple(members.get(dn, ()))) for dn, uuid, attributes in rows[:page_size]
    )
    return Page(entries, _cookie_of(dns[-1]) if len(rows) > page_size else "")


def pages_after(connection: Connection, after: str | None, *, source: str, kind: str) -> Iterator[dict[str, Any]]:
    """Which pages there are: `{source, cookie}` of each in order, behind the page whose cookie is `after`."""
    cookie = after or ""
    while True:
        page = search(connection, source, kind, cookie=cookie)
        if cookie != after and page.entries:
            yield {"source": source, "cookie": cookie}
        if not page.cookie:
            return
        cookie = page.cookie


def _members(connection: Connection, source: str, dns: list[str]) -> dict[str, list[str]]:
    here = directory_members.c
    rows = select(here.dn, here.member).where(here.source == source, here.dn.in_(dns)).order_by(here.dn, here.member)
    members: dict[str, list[str]] = defaultdict(list)
    for dn, member in connection.execute(rows):
        members[dn].append(member)
    return members


def _cookie_of(dn: str) -> str:
    return urlsafe_b64encode(dn.encode()).decode()


def _dn_of(cookie: str) -> str:
    try:
        return urlsafe_b64decode(cookie.encode("ascii")).decode()
    except ValueError as error:
        raise ValueError("The cookie is none of this directory's.") from error
