"""Is the document an OpenAPI 3.1 document, whole in itself?"""

from collections.abc import Iterator
from contextlib import suppress

from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.validation.exceptions import DuplicateOperationIDError

from headrace.contract.document import Document
from headrace.contract.references import Place, follow, place_of, references
from headrace.errors import Fault

_PARAGRAPH = "\n\n"


def structure_faults(document: Document) -> list[Fault]:
    """Everything that keeps the document from being read as OpenAPI 3.1; empty when it can be."""
    version = str(document.data.get("openapi", ""))
    if not version.startswith("3.1"):
        return [document.fault(("openapi",), f"This is OpenAPI {version or 'of no version'}; write it as 3.1.")]
    # The validator follows references as it goes, over the network where they say so: they are looked at first.
    return list(_reference_faults(document)) or list(_schema_faults(document))


def _reference_faults(document: Document) -> Iterator[Fault]:
    for holder, reference in references(document.data):
        place = (*holder, "$ref")
        if not reference.startswith("#/"):
            yield document.fault(place, f"{reference} leads out of this file; keep everything in it.")
            continue
        try:
            follow(document.data, place_of(reference))
        except KeyError:
            yield document.fault(place, f"{reference} leads to nothing.")


def _schema_faults(document: Document) -> Iterator[Fault]:
    # Once it has named what is no mapping, the validator looks for something below it.
    with suppress(KeyError):
        for error in OpenAPIV31SpecValidator(document.data).iter_errors():
            if isinstance(error, DuplicateOperationIDError):
                continue  # read_operations names both lines
            place: Place = tuple(str(part) for part in error.absolute_path)
            # Below the first paragraph the validator quotes what it found, which may be a page long.
            yield document.fault(place, f"{error.message.partition(_PARAGRAPH)[0]}.")
