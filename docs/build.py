"""Builds the site: these pages, the node reference made from docstrings, and the pictures beside their subjects.

The pages are staged as plain Markdown, so that only the last step depends on the program that makes HTML of them.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from graph_runtime.discovery import load_palette
from graph_runtime.node import NodeType

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ("workflows/pictures/*.webp", "web/screenshots/*.png")
OUTSIDE = re.compile(r"(\]\((?:\.\./)*)\.\./((?:workflows/pictures|web/screenshots)/)")


def build(site: Path) -> int:
    """Write the site into a folder; return the exit status of mkdocs, which refuses broken links."""
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        shutil.copy(ROOT / "mkdocs.yml", staged)
        stage(staged / "docs")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(staged / "mkdocs.yml"), "-d", str(site)]
        return subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode


def stage(folder: Path) -> None:
    """Write all pages and their pictures into an empty folder."""
    for place in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")]:
        target = folder / place.relative_to(ROOT / "docs")
        target.parent.mkdir(parents=True, exist_ok=True)
        # in the repository the pictures are beside `docs`, in the site below it
        target.write_text(OUTSIDE.sub(r"\1\2", place.read_text(encoding="utf-8")), encoding="utf-8")
    for place in (place for pattern in PICTURES for place in ROOT.glob(pattern)):
        target = folder / place.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, target)
    _write_reference(folder / "nodes")


def _write_reference(folder: Path) -> None:
    folder.mkdir()
    types = [kind for kind in load_palette().types.values() if kind.package == "latentloom"]
    types.sort(key=lambda kind: (kind.category, kind.name))
    index = ["# Nodes", "", "The text that `latentloom nodes NAME` prints and that the editor shows as help.", ""]
    for category, found in groupby(types, key=lambda kind: kind.category):
        kinds = list(found)
        index += [f"## {category.capitalize()}", "", "| node | what it does |", "| --- | --- |"]
        index += [f"| [{kind.name}]({category}.md#{kind.name.lower()}) | {_summary(kind)} |" for kind in kinds]
        index.append("")
        page = [f"# {category.capitalize()}", *(line for kind in kinds for line in _node(kind))]
        (folder / f"{category}.md").write_text("\n".join(page), encoding="utf-8")
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")


def _node(kind: NodeType) -> Iterator[str]:
    shown = kind.to_json()
    yield from ("", f"## {kind.name}", "", kind.description, "")
    yield from (f"- Input {_socket(socket)}" for socket in shown["inputs"])
    yield from (f"- One of {' and '.join(f'`{name}`' for name in group)} is needed" for group in shown["one_of"])
    yield from (f"- Output `{output['name']}`: {output['type']}" for output in shown["outputs"])
    yield from ([] if shown["outputs"] else ["- Output: files"])
    fields: dict[str, Any] = shown["fields"].get("properties", {})
    yield from ("", "| field | default | what it does |", "| --- | --- | --- |") if fields else ()
    for name, schema in fields.items():
        default = f"`{schema['default']!r}`" if "default" in schema else ""
        yield f"| `{name}` | {_cell(default)} | {_cell(schema.get('description', ''))} |"


def _socket(socket: dict[str, Any]) -> str:
    notes = [*([] if socket["required"] else ["optional"]), *(["several wires"] if socket["many"] else [])]
    return f"`{socket['name']}`: {socket['type']}" + (f" ({', '.join(notes)})" if notes else "")


def _summary(kind: NodeType) -> str:
    return _cell(kind.description.split("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
