"""Who may import whom: read from the source, so that a forbidden import fails before it hurts."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = {
    "graph_runtime": {"torch", "diffusers", "transformers", "peft", "aiohttp", "nodes", "server", "web", "PIL", "numpy"},
    "nodes/diffusion": {"graph_runtime", "aiohttp", "server", "web", "networkx"},
    "nodes": {"aiohttp", "server", "web", "networkx"},
    "web/api": {"torch", "diffusers", "transformers", "peft", "numpy", "networkx", "server"},
}
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
