"""Who may import whom: read from the source, so that a forbidden import fails before it hurts."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

from nodes.diffusion.families.registry import known

ROOT = Path(__file__).parent.parent
RULES = {
    "graph_runtime": {"torch", "diffusers", "transformers", "peft", "aiohttp", "nodes", "server", "web", "PIL", "numpy"},
    "nodes/diffusion": {"graph_runtime", "aiohttp", "server", "web", "networkx"},
    "nodes": {"aiohttp", "server", "web", "networkx"},
    "web/api": {"torch", "diffusers", "transformers", "peft", "numpy", "networkx", "server"},
}
ROOMS = (
    "errors", "randomness", "devices", "handles", "facts", "formats", "optimization", "models", "text", "pictures", "families",
    "adapters", "training", "sampling", "merging",
)  # fmt: skip
"""Rooms of `nodes/diffusion`, the lowest first: each imports only from itself and from those before it.

`facts` is the light side of `families`: what the rooms below ask of a family, without torch.
"""
FACTS = ("facts", "flow_refusals", "protocol", "registry", "tensor_names", "transformer_facts", "unsupported", "vocabularies")
"""The files and folders in `families` that are its light side."""
HEAVY = ("torch", "diffusers", "transformers", "peft", "PIL", "numpy", "safetensors")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every imported module of a file, and whether the import stands at the top."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in top


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", RULES)
def test_imports_go_one_way(folder: str) -> None:
    files = sources(folder)
    assert len(files) > 5
    found = [(path.name, name) for path in files for name, _ in imports(path) if name.split(".")[0] in RULES[folder]]
    assert not found


def modules_of(folder: str) -> dict[str, Path]:
    """Return the files of a folder by the names that they are imported by."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources(folder)}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def import_graph(folder: str) -> "nx.DiGraph[str]":
    """Return which file imports which, inside functions and for types included."""
    modules, graph = modules_of(folder), nx.DiGraph()
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                named = [f"{prefix}{alias.name}" for alias in node.names]
                found = [name if name in modules else prefix.rstrip(".") for name in named]
                graph.add_edges_from((module, name) for name in found if name in modules and name != module)
    return graph


@pytest.mark.parametrize("folder", ["nodes", "graph_runtime", "web/api"])
def test_no_imports_go_in_a_circle(folder: str) -> None:
    graph = import_graph(folder)
    assert graph.number_of_edges() > 20
    assert not [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]


def room_of(module: str) -> str:
    """Return the room of a file by its name inside of `nodes.diffusion`."""
    room, *inner = module.split(".")
    return "facts" if room == "families" and (not inner or set(inner) & set(FACTS)) else room


def test_rooms_import_only_from_those_before_them() -> None:
    graph, start = import_graph("nodes/diffusion"), len("nodes.diffusion.")
    assert {room_of(module[start:]) for module in modules_of("nodes/diffusion") if module[start:]} == set(ROOMS)
    rank = {room: number for number, room in enumerate(ROOMS)}
    edges = [(one[start:], other[start:]) for one, other in graph.edges if one[start:] and other[start:]]
    assert len(edges) > 200
    assert not [edge for edge in edges if rank[room_of(edge[0])] < rank[room_of(edge[1])]]


def test_facts_of_families_import_no_torch() -> None:
    facts = [name for name in modules_of("nodes/diffusion/families") if room_of(name.removeprefix("nodes.diffusion.")) == "facts"]
    assert len(facts) > 5
    script = f"import sys, {', '.join(facts)}; assert not {set(HEAVY)} & set(sys.modules), set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_only_a_family_s_own_folder_names_it() -> None:
    """No text outside `families` is a family's name, and no file imports the folder of one that has facts."""
    home = ROOT / "nodes/diffusion/families"
    own = {f"nodes.diffusion.families.{facts.parent.name}" for facts in home.glob("*/facts*")}
    outside = [path for place in RULES for path in sources(place) if not path.is_relative_to(home)]
    assert "nodes.diffusion.families.stable_diffusion" in own
    assert len(outside) > 200
    for path in {*outside, ROOT / "server.py"}:
        literals = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not literals & known().keys(), path
        assert not [name for name, _ in imports(path) for folder in own if f"{name}.".startswith(f"{folder}.")], path
    scripts = [path for path in (ROOT / "web/src").rglob("*.ts*") if "api" not in path.parts]
    assert len(scripts) > 50
    for path in scripts:
        assert not [name for name in known() if re.search(rf"[\"'`]{name}[\"'`]", path.read_text())], path


def test_only_the_code_of_a_family_calls_a_denoiser() -> None:
    """Packing, ids, masks, sign and time convention are `predict`'s own affair."""
    callers = {
        path.relative_to(ROOT / "nodes").as_posix()
        for path in sources("nodes")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (isinstance(node.func, ast.Name | ast.Attribute))
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in ("unet", "transformer", "denoiser")
    }
    assert "diffusion/families/stable_diffusion/code.py" in callers
    assert not [path for path in callers if not re.fullmatch(r"diffusion/families/\w+/code\.py", path)]


def test_a_category_imports_no_other_category() -> None:
    looked = 0
    for path in sources("nodes"):
        category = path.relative_to(ROOT / "nodes").parts[0]
        for name, _ in imports(path):
            parts = name.split(".")
            if parts[0] == "nodes" and len(parts) > 1:
                looked += 1
                assert parts[1] in (category, "diffusion"), f"{path} imports {name}"
    assert looked > 20


def test_the_server_imports_nothing_heavy_at_the_top() -> None:
    for path in (*sources("web/api"), ROOT / "server.py"):
        heavy = [name for name, at_top in imports(path) if at_top and name.split(".")[0] in HEAVY]
        assert not heavy, f"{path} imports {heavy} at the top"


def test_node_files_import_nothing_heavy_at_the_top() -> None:
    files = [path for path in sources("nodes") if "diffusion" not in path.parts and path.name != "__init__.py"]
    assert len(files) >= 10
    for path in files:
        heavy = [name for name, at_top in imports(path) if at_top and name.split(".")[0] in HEAVY]
        assert not heavy, f"{path} imports {heavy} at the top"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["nodes"],
        ["nodes", "TrainLoRA"],
        ["validate", "workflows/lora.json"],
        ["plan", "workflows/lora.json"],
        ["inspect", "workflows/lora.json"],
        ["cache", "info"],
    ],
    ids=" ".join,
)
def test_commands_that_only_look_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    if arguments[0] in ("validate", "plan", "cache"):
        arguments = [*arguments, "--cache", str(tmp_path)]
    script = (
        "import sys; from graph_runtime.__main__ import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as error: status = error.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'PIL', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
