"""The pages that people read, and what is in them."""

import re
from pathlib import Path

from tests.shell import ROOT

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [text for found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def prose(page: Path) -> str:
    """Return a page without its fenced and indented blocks."""
    lines = FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    return "\n".join(line for line in lines if not line.startswith("    "))


def commands(page: Path) -> list[str]:
    """Return the command lines of the program in indented blocks, each on one line, without those that show a syntax."""
    text = re.sub(r"\\\n *", " ", page.read_text(encoding="utf-8")).replace("$rank", "8")
    found = re.findall(r"^ {4,}(?:\S*=\S+ )*(?:\.venv/bin/)?(latentloom [^>\n]*)", text, re.MULTILINE)
    return [line for line in found if not set("[|") & set(line) and "   " not in line and not line.split()[-1].isupper()]
