"""Finds node packages through the entry-point group `latentloom.nodes`; ours is simply the first of them."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from graph_runtime.errors import Problem, WorkflowError
from graph_runtime.node import Node, NodeType, describe

GROUP = "latentloom.nodes"
WIDGET = re.compile(r"[a-z][a-z0-9-]{0,60}")
TEMPLATES = Path(__file__).resolve().parent.parent / "workflows"
"""The workflows that come with the program, and their pictures."""


@dataclass(frozen=True)
class Palette:
    """All node types by class name, the folders of packages, and problems of packages that could not be loaded."""

    types: Mapping[str, NodeType]
    folders: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()
    widgets: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """JavaScript modules of packages that edit fields, by the name that fields give."""
    device_checks: tuple[Callable[[str], None], ...] = ()
    """The functions `check_device` of packages: they raise ValueError when the machine lacks the device that they are given."""


@cache
def load_palette() -> Palette:
    """Return the nodes of every installed package; a package that does not load becomes a problem, not a crash."""
    types: dict[str, NodeType] = {}
    folders: list[Path] = []
    problems: list[Problem] = []
    widgets: dict[str, Path] = {}
    device_checks: list[Callable[[str], None]] = []
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name != "latentloom", point.name))
    if not points:
        raise WorkflowError(Problem("No node package is installed.", remedy="Install the program with `pip install latentloom`."))
    for point in points:
        try:
            package = importlib.import_module(point.value)
            folder = Path(next(iter(package.__path__))).resolve()
            add_widgets(widgets, folder)
            for node_type in package_types(package, point.name):
                add_type(types, node_type)
            folders.append(folder)
            device_checks += [check] if (check := getattr(package, "check_device", None)) else []
        except Exception as error:  # a third party's package may fail in any way
            problems.append(Problem(f"Node package {point.name} does not load: {type(error).__name__}: {error}"))
    return Palette(types, (*folders, TEMPLATES), tuple(problems), widgets, tuple(device_checks))


def add_type(types: dict[str, NodeType], node_type: NodeType) -> None:
    """Add a node type; raise ValueError when its name is taken."""
    known = types.setdefault(node_type.name, node_type)
    if known is not node_type:
        raise ValueError(f"node {node_type.name} exists already in package {known.package}")
    for other in types.values():
        if other is not node_type and (both := set(other.cls.former_names) & set(node_type.cls.former_names)):
            raise ValueError(f"nodes {other.name} and {node_type.name} both had the name {min(both)}")


def add_widgets(widgets: dict[str, Path], folder: Path) -> None:
    """Add the widgets of a package's folder; raise ValueError when a name is taken or no plain name."""
    for file in sorted(folder.glob("widgets/*.js")):
        if not file.resolve().is_relative_to(folder):
            raise ValueError(f"the widget {file.name} is a link out of the package")
        if not WIDGET.fullmatch(file.stem):
            raise ValueError(f"the widget {file.name} has no plain name of small letters, digits and hyphens")
        if widgets.setdefault(file.stem, file) != file:
            raise ValueError(f"widget {file.stem} exists already in another package")


def package_types(package: ModuleType, name: str) -> Iterator[NodeType]:
    """Yield the nodes of a package: each sub-package is a category, unless it sets `LIBRARY = True`."""
    for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if entry.ispkg:
            category = importlib.import_module(entry.name)
            if not getattr(category, "LIBRARY", False):
                yield from _category_types(category, entry.name.rsplit(".", 1)[-1], name)


def _category_types(category: ModuleType, category_name: str, package: str) -> Iterator[NodeType]:
    for entry in pkgutil.iter_modules(category.__path__, f"{category.__name__}."):
        module = importlib.import_module(entry.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Node) and value.__module__ == module.__name__:
                yield describe(value, category_name, package)
