"""Command lines and workflows in the pages are right: options, files, nodes and fields."""

import json
import shlex
from pathlib import Path

import pytest

from graph_runtime.arguments import parse_arguments
from graph_runtime.discovery import load_palette
from graph_runtime.overrides import apply_overrides
from graph_runtime.validation import validate
from graph_runtime.workflow import read_workflow, workflow_from_json
from graph_runtime.workspace import Workspace
from tests.docs.pages import PAGES, blocks, commands, name_of
from tests.shell import ROOT

COMMANDS = [(page, line) for page in PAGES for line in commands(page)]
STANDING_FOR_FILES = ("A.safetensors", "B.safetensors", "PHOTOS", "MODEL_FOLDER", "/models/sd15.safetensors")
"""Names in the pages for what a reader has."""


def test_the_pages_hold_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{name_of(page)}: {line}" for page, line in COMMANDS])
def test_a_command_is_one(page: Path, line: str, tmp_path: Path) -> None:
    options = parse_arguments(shlex.split(line, comments=True)[1:])
    workflow = ROOT / getattr(options, "file", "")
    if workflow.is_file():
        for name in STANDING_FOR_FILES:
            (tmp_path / Path(name).name).touch()
        texts = [text.replace("/models/", "") for text in options.set]
        apply_overrides(read_workflow(workflow), texts, load_palette(), tmp_path)


WORKFLOWS = [(page, text) for page in PAGES for text in blocks(page, "json")]


@pytest.mark.parametrize(("page", "text"), WORKFLOWS, ids=[name_of(page) for page, _ in WORKFLOWS])
def test_a_workflow_is_right(page: Path, text: str, tmp_path: Path) -> None:
    workflow = workflow_from_json(json.loads(text))
    own = {"BrightenImages"}  # tried where its package is
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "line-style.safetensors").touch()
    palette = load_palette()
    problems = validate(workflow, palette, Workspace(tmp_path, packages=palette.folders))
    assert not [problem for problem in problems if not own & {workflow.nodes[problem.node].type if problem.node else ""}]
