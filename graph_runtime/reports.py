"""Texts of the commands that only report: nodes, cache, inspect."""

import json
from pathlib import Path
from typing import Any

from graph_runtime.context import METADATA_KEY
from graph_runtime.discovery import load_palette
from graph_runtime.errors import Problem, WorkflowError, did_you_mean, printable
from graph_runtime.migrate import migrated
from graph_runtime.node import NodeType
from graph_runtime.provenance import read_provenance, safetensors_metadata
from graph_runtime.subgraphs import expand
from graph_runtime.workflow import NodeEntry, Workflow, read_workflow


def nodes_report(name: str | None, *, as_json: bool) -> str:
    """Return the description of the palette, or of one node."""
    palette = load_palette()
    if not name:
        types = sorted(palette.types.values(), key=lambda node_type: (node_type.category, node_type.name))
        return json.dumps([t.to_json() for t in types]) if as_json else "\n".join(map(_one_line, types))
    node_type = palette.types.get(name)
    if node_type is None:
        raise WorkflowError(
            Problem(f"There is no node {name!r}.", remedy=did_you_mean(name, palette.types, "`latentloom nodes` lists them."))
        )
    return json.dumps(node_type.to_json()) if as_json else _help_page(node_type)


def _one_line(node_type: NodeType) -> str:
    return f"{node_type.category:10} {node_type.name:18} {node_type.description.splitlines()[0]}"


def _help_page(node_type: NodeType) -> str:
    shown = node_type.to_json()
    lines = [f"{node_type.title} ({node_type.name}, {node_type.category})", "", node_type.description, "", "Inputs"]
    lines += [_input_line(socket) for socket in shown["inputs"]] or ["  none"]
    lines += [f"  one of {' and '.join(group)} is needed" for group in shown["one_of"]]
    lines += ["", "Outputs", *([f"  {o['name']}: {o['type']}" for o in shown["outputs"]] or ["  files"])]
    fields = shown["fields"].get("properties", {})
    lines += ["", "Fields"] if fields else []
    for name, schema in fields.items():
        default = f" = {schema['default']!r}" if "default" in schema else ""
        lines += [f"  {name}{default}", *(f"      {line}" for line in str(schema.get("description", "")).splitlines())]
    return "\n".join(lines)


def _input_line(socket: dict[str, Any]) -> str:
    notes = [] if socket["required"] else ["optional"]
    notes += ["several wires"] if socket["many"] else []
    return f"  {socket['name']}: {socket['type']}" + (f" ({', '.join(notes)})" if notes else "")


def cache_report(info: dict[str, Any], *, as_json: bool) -> str:
    """Return the path and the size of the cache as text."""
    used, cap = info["bytes"] / 1e9, info["max_bytes"] / 1e9
    return json.dumps(info) if as_json else f"{info['folder']}: {info['entries']} entries, {used:.2f} of at most {cap:.2f} GB"


def inspect_report(path: Path, *, workflow: bool, as_json: bool) -> str:
    """Return an artifact's provenance (workflow, inputs, versions), or a workflow's nodes, as text."""
    if path.suffix.lower() == ".json":
        document = read_workflow(path)
        return json.dumps(document.to_json(), indent=2, ensure_ascii=False) if workflow else _made_of(document, as_json=as_json)
    try:
        found = read_provenance(path)
        metadata = safetensors_metadata(path) if path.suffix.lower() == ".safetensors" else {}
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error.strerror}." if isinstance(error, OSError) else str(error)
        raise WorkflowError(Problem(message)) from None
    if workflow:
        if found is None:
            raise WorkflowError(Problem(f"{path} carries no workflow.", remedy="Only files saved by this program do."))
        return json.dumps(found["workflow"], indent=2, ensure_ascii=False)
    if found is None and not metadata:
        raise WorkflowError(
            Problem(
                f"{path} carries nothing that says what made it.", remedy="Give a .safetensors, .pt or .png file, or a workflow."
            )
        )
    shown = {"metadata": {k: v for k, v in metadata.items() if k != METADATA_KEY}, **(found or {})}
    return json.dumps(shown, indent=None if as_json else 2, ensure_ascii=False)


def _made_of(workflow: Workflow, *, as_json: bool) -> str:
    """Show a workflow's name, its nodes, those of subgraphs taken apart, and the paths that they read."""
    types = load_palette().types
    nodes = {id: _node(entry, types.get(entry.type)) for id, entry in expand(migrated(workflow, types)).workflow.nodes.items()}
    if as_json:
        return json.dumps({"name": workflow.name, "description": workflow.description, "nodes": nodes}, ensure_ascii=False)
    lines = [workflow.name, *workflow.description.splitlines(), "", f"{len(nodes)} nodes"]
    width = max(map(len, nodes), default=0)
    for id, node in nodes.items():
        reads = "; ".join(f"{name}: {path or 'nothing chosen'}" for name, path in node["reads"].items())
        lines.append(f"  {id:{width}}  {node['type']:18} {reads if node['installed'] else '(not installed)'}".rstrip())
    return printable("\n".join(lines))


def _node(entry: NodeEntry, node_type: NodeType | None) -> dict[str, Any]:
    if node_type is None:
        return {"type": entry.type, "installed": False, "reads": {}}
    reads: dict[str, Any] = {}
    for name in node_type.path_fields:
        info = node_type.cls.model_fields[name]
        path = entry.fields.get(name, "" if info.is_required() else info.default)
        reads |= {name: path} if path or info.is_required() else {}
    return {"type": entry.type, "installed": True, "reads": reads}
