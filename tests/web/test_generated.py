"""A new node changes no generated file that git keeps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.shell import ROOT

NODE = '''"""Doubled."""

from graph_runtime.node import Node


class Doubled(Node):
    """A whole number, doubled."""

    value: int = 1

    def run(self) -> int:
        return 2 * self.value
'''
SCHEMAS = {
    "web/src/api/schema.json": "from web.api.schema import exchanged_schema as made",
    "graph_runtime/workflow.schema.json": "from graph_runtime.workflow import json_schema as made",
}
"""What makes each file; the editor's types are made from the first of them and from nothing else."""


def git(folder: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def checkout(folder: Path) -> None:
    """Copy the code that git keeps, without large files, into a repository of its own."""
    for name in git(ROOT, "ls-files", ".gitignore", "pyproject.toml", "graph_runtime", "nodes", "web", "tests"):
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 2**20:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")


def kept(folder: Path, file: str) -> Any:
    return json.loads((folder / file).read_text(encoding="utf-8"))


def test_a_new_node_is_all_that_git_sees(tmp_path: Path) -> None:
    checkout(tmp_path)
    (tmp_path / "nodes" / "values" / "doubled.py").write_text(NODE, encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": path}
    for file, imported in SCHEMAS.items():
        make = f"import json; {imported}; print(json.dumps(made(), indent=2))"
        made = subprocess.run(
            [sys.executable, "-c", make], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(made.stdout) == kept(tmp_path, file), file
    before_tests = kept(tmp_path, "web/package.json")["scripts"]["pretest"]
    subprocess.run(["sh", "-c", before_tests], cwd=tmp_path / "web", env=environment, check=True)
    palette = kept(tmp_path, "web/test/palette.json")
    assert "Doubled" in {node["name"] for node in palette["nodes"]}
    assert git(tmp_path, "ls-files", "--modified", "--others", "--exclude-standard") == ["nodes/values/doubled.py"]
