"""Fenced blocks of the Markdown files: what the tests of this room run, read from where people read it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Of the second level and below: blocks hold comments that look like a title.
_HEADING = re.compile(r"^##+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """One block: its language, its text, and the heading that it stands under."""

    language: str
    text: str
    heading: str

    @property
    def file(self) -> str:
        """The name of the file that the first line gives, as in `# queue.yaml`; "" when it gives none."""
        match = re.match(r"# ([\w./]+\.(?:yaml|py))$", self.text.partition("\n")[0])
        return match[1] if match else ""

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, without comments."""
        lines = (re.sub(r"\s+# .*|^#.*", "", line) for line in self.text.splitlines())
        return [line for line in lines if line]


def documents() -> list[Path]:
    """Every Markdown file that people read: those at the root, and all under docs."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def fences_of(document: str) -> list[Fence]:
    """The fenced blocks of a file, in order."""
    text = (ROOT / document).read_text()
    return [
        Fence(match[1], match[2], "".join(_HEADING.findall(text[: match.start()])[-1:]))
        for match in _FENCE.finditer(text)
    ]


def table_under(document: str, heading: str) -> list[str]:
    """The first cells of the table rows under a heading, without the head of the table."""
    section = re.split(rf"^#+ {re.escape(heading)}$", (ROOT / document).read_text(), flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    return re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)[1:]
