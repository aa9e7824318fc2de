"""`queue.<env>.yaml` and `cron.<env>.yaml`: what one environment has different from the base file.

An overlay has the base file's form. Each entry names one of the base (a queue by name, a cron job by url) and
carries only the keys that differ; a mapping such as retry_parameters is merged key by key.
"""

import difflib
from pathlib import Path
from typing import Any

from headrace.config.document import Document, Keys, read_document


def read_with_overlay(path: Path, environment: str | None, section: str, key: str) -> Document:
    """Read a base file, and over it the overlay of `environment` where there is one.

    `section` is the list of entries, `key` what names one. Places in the answer are those of the file that
    each value came from. Raises ConfigError as `read_document` does.
    """
    base = read_document(path)
    overlay = None if environment is None else overlay_path(path, environment)
    if overlay is None or not overlay.exists():
        return base
    return _merge(base, read_document(overlay), section, key)


def overlay_path(path: Path, environment: str) -> Path:
    """Where the overlay of a base file lies, if there is one."""
    return path.with_name(f"{path.stem}.{environment}{path.suffix}")


def _merge(merged: Document, overlay: Document, section: str, key: str) -> Document:
    """Lay the overlay over the base document in `merged`."""
    merged.faults += overlay.faults
    changes = overlay.value
    if not isinstance(changes, dict) or not isinstance(changes.get(section) or [], list):
        merged.faults.append(overlay.place((section,)).fault(f"must be a mapping with a list under {section}:"))
        return merged
    if not isinstance(merged.value, dict):
        return merged
    merger = _Merger(merged, overlay)
    for name in changes.keys() - {section}:
        merger.put(merged.value, (name,), changes, (name,))
    known: dict[str, list[int]] = {}
    for index, entry in merged.entries(section):
        known.setdefault(_text(entry, key), []).append(index)
    seen: set[str] = set()
    for number, item in enumerate(changes.get(section) or []):
        name = _text(item, key)
        if problem := _problem(name, known, seen):
            merged.faults.append(overlay.place((section, number, key)).fault(f"{key}: {problem}"))
            continue
        seen.add(name)
        index = known[name][0]
        for inner in item:
            merger.put(merged.value[section][index], (section, index, inner), item, (section, number, inner))
    return merged


def _text(entry: object, key: str) -> str:
    """What names the entry; a queue's name may be written as a number."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return "" if value is None else str(value)


def _problem(name: str, known: dict[str, list[int]], seen: set[str]) -> str:
    """Why the overlay's entry of this name cannot be laid over one of the base."""
    if not name:
        return "is missing; it says which entry of the base file is meant"
    if name in seen:
        return f'"{name}" is in this overlay twice'
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        return f'the base file has no "{name}"' + (f"; did you mean {near[0]}?" if near else "")
    if len(known[name]) > 1:
        return f'the base file has "{name}" {len(known[name])} times; an overlay cannot tell which is meant'
    return ""


class _Merger:
    """Puts values of one document into another, each with its place."""

    def __init__(self, target: Document, source: Document) -> None:
        self._target = target
        self._source = source

    def put(self, into: dict[str, Any], path: Keys, changes: dict[str, Any], origin: Keys) -> None:
        """Set the last key of `path` in the mapping `into` to what `changes` has under it."""
        key = str(path[-1])
        old, new = into.get(key), changes[key]
        if isinstance(old, dict) and isinstance(new, dict):
            for inner in new:
                self.put(old, (*path, inner), new, (*origin, inner))
            return
        into[key] = new
        self._copy_places(new, path, origin)

    def _copy_places(self, value: object, path: Keys, origin: Keys) -> None:
        self._target.values[path] = self._source.values[origin]
        if origin in self._source.keys:
            self._target.keys[path] = self._source.keys[origin]
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in children:
            self._copy_places(inner, (*path, key), (*origin, key))
