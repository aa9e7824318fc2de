"""openapi.yaml as data with places, and the references within it."""

from pathlib import Path

import pytest

from headrace.contract.document import read_document
from headrace.contract.references import follow, place_of, pointer_of
from headrace.contract.structure import structure_faults
from headrace.errors import ContractError


def write(folder: Path, text: str) -> Path:
    path = folder / "openapi.yaml"
    path.write_text(text)
    return path


def test_every_key_and_item_has_its_place(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a:\n  b: 1\n  c:\n  - x\n  - y: 2\n"))

    assert document.data == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert document.start_of(("a", "b")) == (2, 3)
    assert document.start_of(("a", "c", "1", "y")) == (5, 5)
    assert document.start_of(("a", "nothing", "here")) == (1, 1)


def test_keys_are_text_and_dates_stay_text(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "204: {on: 2026-11-22}\n"))

    assert document.data == {"204": {"on": "2026-11-22"}}


def test_what_an_alias_stands_for_is_read_in_both_places(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a: &x {b: 1}\nc: *x\n"))

    assert document.data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands here again; first in line 1."),
        ("a: [1\n", 2, "This is no YAML"),
        ("- 1\n", 1, "is a mapping"),
        ("", 1, "is a mapping"),
    ],
)
def test_a_file_that_is_no_document_is_a_fault_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(ContractError) as raised:
        read_document(write(tmp_path, text))

    (fault,) = raised.value.faults
    assert message in fault.message
    assert fault.line == line


def test_pointers_escape_slashes_and_tildes() -> None:
    assert pointer_of(("paths", "/a~b", "get")) == "/paths/~1a~0b/get"
    assert place_of("#/paths/~1a~0b/%7Bid%7D") == ("paths", "/a~b", "{id}")


def test_a_place_is_followed_through_references() -> None:
    document = {"a": {"$ref": "#/b"}, "b": {"c": {"$ref": "#/d/0"}}, "d": [{"e": 1}]}

    assert follow(document, ("a", "c", "e")) == (("d", "0", "e"), 1)
    with pytest.raises(KeyError):
        follow(document, ("a", "nothing"))


def test_a_place_from_which_nothing_leads_on_is_missing() -> None:
    with pytest.raises(KeyError):
        follow({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}, ("a", "c"))


@pytest.mark.parametrize(
    ("body", "line"),
    [("paths: 3", 3), ("components: {schemas: 3}\npaths: {}", 3), ("paths: {/a: 3}", 3), ("paths: {/a: {get: 3}}", 3)],
)
def test_what_is_no_mapping_where_one_is_wanted_is_named_with_its_line(tmp_path: Path, body: str, line: int) -> None:
    (tmp_path / "openapi.yaml").write_text(f"openapi: 3.1.0\ninfo: {{title: Wrong, version: '1'}}\n{body}\n")
    faults = structure_faults(read_document(tmp_path / "openapi.yaml"))
    assert [fault.line for fault in faults] == [line]
