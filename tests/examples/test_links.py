"""Links between the Markdown files lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.examples.fences import ROOT, documents

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document: Path):
    targets = LINK.findall(FENCE.sub("", document.read_text()))
    files = [target.partition("#")[0] for target in targets if not re.match(r"https?:", target)]
    assert [file for file in files if not (document.parent / file).exists()] == []


def test_the_readme_links_to_every_page_of_docs():
    targets = [(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text())]
    assert set((ROOT / "docs").glob("*.md")) <= set(targets)
