"""What the server and its nodes say is also read in a browser, by people who have no command line."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.shell import ROOT

COMMAND_LINE = {"arguments.py", "__main__.py", "overrides.py", "reports.py", "display.py"}
"""Said in a terminal only."""
OPTION = re.compile(r"(^|[\s`(])--[a-z]|`latentloom [a-z]+|latentloom run ")
SPAWN = re.compile(r"^--[a-z-]+(=.*)?$")
"""An argument for another process."""


def sources() -> list[Path]:
    found = [*ROOT.glob("nodes/**/*.py"), *ROOT.glob("graph_runtime/*.py"), *ROOT.glob("web/api/*.py")]
    return [path for path in found if not (path.parent.name == "graph_runtime" and path.name in COMMAND_LINE)]


def texts(path: Path) -> Iterator[str]:
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and not SPAWN.fullmatch(part.value):
            yield part.value


def test_no_message_sends_a_person_in_a_browser_to_a_command_line() -> None:
    assert [(path.name, text) for path in sources() for text in texts(path) if OPTION.search(text)] == []


def test_notes_of_templates_speak_of_what_is_on_the_screen() -> None:
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("workflows/*.json")]
    assert documents
    notes = [note["text"] for document in documents for note in document.get("notes", [])]
    assert [note for note in [*notes, *(document["description"] for document in documents)] if OPTION.search(note)] == []
