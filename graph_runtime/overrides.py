"""Changes to a workflow from the command line: `--set NODE.FIELD=VALUE`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from graph_runtime.discovery import Palette
from graph_runtime.errors import Problem, WorkflowError, choice_of, did_you_mean
from graph_runtime.wording import readable
from graph_runtime.workflow import Workflow


def apply_overrides(workflow: Workflow, texts: list[str], palette: Palette, workspace: Path) -> tuple[Workflow, list[Path]]:
    """Return the changed workflow, and the paths that the person named, which may be outside the workspace."""
    nodes = dict(workflow.nodes)
    trusted: list[Path] = []
    problems: list[Problem] = []
    for text in texts:
        target, equals, value = text.partition("=")
        id, dot, field = target.partition(".")
        if not equals or not dot:
            problems.append(Problem(f"--set {text!r} is not of the form NODE.FIELD=VALUE."))
        elif problem := _unknown(id, field, workflow, palette):
            problems.append(problem)
        else:
            node_type = palette.types[nodes[id].type]
            try:
                if field in node_type.path_fields:
                    parsed: Any = _path(value, workspace, trusted)
                    if not parsed and value:
                        problems.append(Problem(f"there is nothing at {value!r}.", node=id, field=field))
                else:
                    parsed = parse_value(value, node_type.cls.model_fields[field].rebuild_annotation())
            except ValidationError as error:
                reason = readable(error.errors(include_url=False)[0])
                problems.append(Problem(f"{value[:60]!r} does not fit: {reason}", node=id, field=field))
                continue
            nodes[id] = nodes[id].model_copy(update={"fields": {**nodes[id].fields, field: parsed}})
    if problems:
        raise WorkflowError(*problems)
    return workflow.model_copy(update={"nodes": nodes}), trusted


def _unknown(id: str, field: str, workflow: Workflow, palette: Palette) -> Problem | None:
    if id not in workflow.nodes:
        message = f"--set names node {id!r}, which the workflow does not have."
        return Problem(message, remedy=_nearest(id, "nodes", workflow.nodes))
    node_type = palette.types.get(workflow.nodes[id].type)
    if node_type and field not in (fields := node_type.cls.model_fields):
        return Problem(f"{node_type.name} has no field {field!r}.", id, field, _nearest(field, "fields", fields))
    return None if node_type else Problem(f"there is no node type {workflow.nodes[id].type!r}.", node=id)


def _nearest(name: str, kind: str, known: Collection[str]) -> str:
    return did_you_mean(name, known, choice_of(kind, known))


def parse_value(text: str, annotation: Any) -> Any:
    """Read the text as the field's type, as plain text first and as JSON second."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        return to_jsonable_python(adapter.validate_python(text))
    except ValidationError:
        try:
            return to_jsonable_python(adapter.validate_json(text))
        except ValidationError:
            adapter.validate_python(text)
            raise


def _path(text: str, workspace: Path, trusted: list[Path]) -> str:
    """Trust a path that exists relative to the current folder; return it relative to the workspace when it is inside.

    A link keeps its own name, since its suffix gives the kind of file. A plain name is left as it is: it may be a model's, or
    relative to the workspace. Returns an empty text when there is nothing at the path.
    """
    if not text:  # Path would take it for the current folder
        return text
    path = Path(text).expanduser()
    if not path.exists():
        return text if (workspace / text).exists() or len(path.parts) < 2 else ""
    named = path.parent.resolve() / path.name if path.is_symlink() else path.resolve()
    trusted.append(named)
    root = workspace.resolve()
    return named.relative_to(root).as_posix() if named.is_relative_to(root) else str(named)
