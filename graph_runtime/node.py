"""The Node class: one declaration gives fields, sockets, cache identity and description."""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from inspect import cleandoc, signature
from itertools import chain
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from graph_runtime.context import Artifact, RunContext
from graph_runtime.migration import Migration

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def _path_field(kind: str) -> Any:
    return Field(json_schema_extra={"format": kind, "widget": kind})


WorkspaceFolder = Annotated[str, _path_field("workspace-folder")]
"""A folder, relative to the workspace; the run resolves it and refuses paths outside."""
WorkspaceFile = Annotated[str, _path_field("workspace-file")]
"""A file, relative to the workspace."""
WorkspacePath = Annotated[str, _path_field("workspace-path")]
"""A file or a folder, relative to the workspace."""
ModelReference = Annotated[str, _path_field("model")]
"""The name of the bundled model, or a model's folder relative to the workspace."""


def _plain_name(name: str) -> str:
    if not name.strip() or name.startswith(".") or set(name) & FORBIDDEN_IN_NAMES or min(map(ord, name)) < ord(" "):
        raise ValueError("a plain file name is needed, without folders")
    return name


FORBIDDEN_IN_NAMES = frozenset('/\\:*?"<>|')
FileName = Annotated[str, AfterValidator(_plain_name), Field(max_length=120)]
"""A plain file name, without folders and not hidden; the run chooses the folder."""


def with_suffix(name: str, suffix: str) -> str:
    """Return a file name with a suffix such as `.safetensors`, added only if it is missing."""
    return name if PurePath(name).suffix == suffix else f"{name}{suffix}"


def widget(name: str) -> Any:
    """Return the annotation of a field that a widget of its package edits: `widgets/NAME.js` in the package's folder."""
    return Field(json_schema_extra={"widget": name})


Prompt = Annotated[str, Field(json_schema_extra={"widget": "prompt"})]
"""Text over several lines."""

PATH_FORMATS = frozenset({"workspace-folder", "workspace-file", "workspace-path", "model"})


class OutsideFiles(Protocol):
    """Access of fingerprints to files outside the cache; the run remembers the path of each digested content."""

    warnings: list[str]
    """Warnings that change no result: shown in every run that needs the node, and part of no key."""

    def digest_file(self, path: str) -> str:
        """Return the sha256 of one file of the workspace."""
        ...

    def digest_folder(self, path: str, suffixes: tuple[str, ...] = ()) -> str:
        """Return one digest of a folder's relative names and contents, limited to `suffixes` (lower case) if given."""
        ...

    def resolve(self, path: str) -> Path:
        """Return the absolute path of a workspace path."""
        ...

    def beside(self, path: str, name: str) -> Path | None:
        """Return the file `name` beside a file, or beside its link's target; None when there is none."""
        ...

    def digest_beside(self, path: str, name: str) -> str | None:
        """Return the sha256 of the file `name` beside a file; None when there is none."""
        ...


Known = Mapping[str, Sequence[Any]]
"""By input, what is known beforehand of the values that arrive there: see `Node.known`."""
Wired = Mapping[str, Sequence["Node"]]
"""By input name, the nodes wired to it, in order; a node with wired fields is a bare `Node`."""


@dataclass(frozen=True)
class Socket:
    """An input: `many` accepts several wires, `required` must have one."""

    name: str
    type: Any
    many: bool = False
    required: bool = True
    is_field: bool = False

    @property
    def type_name(self) -> str:
        return type_name(self.type)


class Node(BaseModel):
    """One step of a workflow: fields are set by a person, `run` takes the inputs from wires and returns the outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    version: ClassVar[int] = 1
    """Raised when `run` changes its results, so that older cached results are not used; see `migrations` for changed names."""
    migrations: ClassVar[Mapping[int, Migration]] = {}
    """By schema version, the change of names to the next one: begin at 1; 0 takes files from before
    versions were stored. Such files look like those of version 1, so a change under 0 must be idempotent."""
    former_names: ClassVar[tuple[str, ...]] = ()
    """Names of the class in earlier releases."""
    side_effects: ClassVar[bool] = False
    """True for a node that saves or shows something: a run's default target, and its files carry the whole workflow."""
    resumable: ClassVar[bool] = False
    """True for a node that keeps its progress in `context.progress_folder`; only one process at a time runs it."""
    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Fields that cannot change the result."""
    added_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that a later release brought: at their defaults they mean what was done before, and keys leave them out."""
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of optional inputs; at least one of each group must be wired."""
    continues: ClassVar[frozenset[str]] = frozenset()
    """Fields such as the number of steps, with which a run may continue another's state; `context.stem` leaves them out."""
    sweeps: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields: one names an upstream `node.field`, the other lists values for it, one per line. Nodes between run once
    per combination; the results arrive, the first pair's values changing fastest, at the inputs that take several wires."""
    display_name: ClassVar[str] = ""
    """The spelled-out name; derived from the class name when empty."""
    synonyms: ClassVar[tuple[str, ...]] = ()
    """Other search terms for the node."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        """Return the identity of everything that `run` reads from outside the cache; None when it reads nothing."""
        return None

    def known(self, files: OutsideFiles) -> Json:
        """Return what is known of the output without computing it, such as a model's family.

        With None, what is known of an input of the output's type is known of the output too; `{}` is nothing.
        """
        return None

    def check_known(self, known: Known) -> None:
        """Raise those errors of `run` that what is known of the inputs already shows; called before anything runs."""

    def check(self, wired: Wired) -> None:
        """Raise the errors of `run` that the fields and the wired nodes already show."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs; must not change an input."""
        raise NotImplementedError(f"{type(self).__name__} has no run")


@dataclass(frozen=True)
class NodeType:
    """The description of a node class, read once from its declaration."""

    cls: type[Node]
    category: str
    package: str
    inputs: Mapping[str, Socket]
    outputs: Mapping[str, Any]
    context_parameter: str | None
    result: Any
    """The return annotation of `run`."""
    path_fields: Mapping[str, str]
    """The path format by field name."""

    @property
    def name(self) -> str:
        return self.cls.__name__

    @cached_property
    def identity(self) -> str:
        """Return the module and name of the class, as used in cache keys."""
        return f"{self.cls.__module__} {self.cls.__name__}"

    @cached_property
    def not_in_key(self) -> set[str]:
        """Return the fields that are not in cache keys: those that change nothing, and paths, whose content counts instead."""
        return {*self.cls.not_in_key, *self.path_fields}

    def unchanged_fields(self, node: Node) -> set[str]:
        """Return the added fields of a node that are at their defaults."""
        fields = self.cls.model_fields
        return {name for name in self.cls.added_fields if getattr(node, name) == fields[name].default}

    @property
    def schema_version(self) -> int:
        """Return the version of the class's names that documents store; 1 until a release has renamed some."""
        return max(self.cls.migrations, default=0) + 1

    @property
    def title(self) -> str:
        return self.cls.display_name or spelled_out(self.name)

    @property
    def description(self) -> str:
        return cleandoc(self.cls.__doc__ or "")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "category": self.category,
            "package": self.package,
            "version": self.cls.version,
            "schema_version": self.schema_version,
            "description": self.description,
            "synonyms": list(self.cls.synonyms),
            "side_effects": self.cls.side_effects,
            "one_of": [list(group) for group in self.cls.one_of],
            "inputs": [
                {"name": s.name, "type": s.type_name, "many": s.many, "required": s.required}
                for s in self.inputs.values()
                if not s.is_field
            ],
            "outputs": [{"name": name, "type": type_name(kind)} for name, kind in self.outputs.items()],
            "fields": self.cls.model_json_schema(),
        }


WORDS = re.compile(r"LoRA|LoHa|LoKr|[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+")


def spelled_out(class_name: str) -> str:
    """Return a class name in words: `InjectLoRA` becomes `Inject LoRA`."""
    return " ".join(WORDS.findall(class_name))


def type_name(kind: object) -> str:
    """Return a short name for a type on a wire, as `DiffusionModel or Checkpoint`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(member) for member in typing.get_args(kind) if member is not type(None))
    return getattr(kind, "__name__", None) or str(kind)


@cache
def describe(cls: type[Node], category: str = "", package: str = "") -> NodeType:
    """Return the description of a node class; raise TypeError when its declaration is incomplete."""
    hints = typing.get_type_hints(cls.run)
    inputs = {name: _field_socket(name, info.annotation) for name, info in cls.model_fields.items()}
    context_parameter = None
    for name, parameter in list(signature(cls.run).parameters.items())[1:]:
        if name not in hints:
            raise TypeError(f"{cls.__name__}.run: parameter {name} has no type.")
        if hints[name] is RunContext:
            context_parameter = name
        elif name in inputs:
            raise TypeError(f"{cls.__name__}: {name} is both a field and a parameter of run.")
        else:
            inputs[name] = _wire_socket(name, hints[name], optional=parameter.default is not parameter.empty)
    for name in chain.from_iterable(cls.one_of):
        if name not in inputs or inputs[name].required or inputs[name].is_field:
            raise TypeError(f"{cls.__name__}: {name}, of which one_of speaks, is no optional input.")
    if set(cls.migrations) - {0} != set(range(1, max(cls.migrations, default=0) + 1)):
        raise TypeError(f"{cls.__name__}: migrations are numbered without gaps by the version that they start from.")
    if "return" not in hints:
        raise TypeError(f"{cls.__name__}.run has no return type.")
    return NodeType(
        cls=cls,
        category=category,
        package=package,
        inputs=inputs,
        outputs=_outputs(hints["return"]),
        context_parameter=context_parameter,
        result=hints["return"],
        path_fields=_path_fields(cls),
    )


def _path_fields(cls: type[Node]) -> dict[str, str]:
    extras = {name: info.json_schema_extra for name, info in cls.model_fields.items()}
    formats = {name: str(extra.get("format")) for name, extra in extras.items() if isinstance(extra, dict)}
    return {name: kind for name, kind in formats.items() if kind in PATH_FORMATS}


def _field_socket(name: str, annotation: object) -> Socket:
    return Socket(name, annotation, required=False, is_field=True)


def _wire_socket(name: str, annotation: object, *, optional: bool) -> Socket:
    if typing.get_origin(annotation) is list:
        return Socket(name, typing.get_args(annotation)[0], many=True, required=not optional)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        kind = members[0] if len(members) == 1 else typing.Union[tuple(members)]  # noqa: UP007 (built at run time)
        return Socket(name, kind, required=not optional)
    return Socket(name, annotation, required=not optional)


def _outputs(annotation: object) -> dict[str, Any]:
    """Return the outputs by name; finished files (Artifact) are none."""
    if annotation is type(None) or annotation is Artifact or typing.get_args(annotation)[:1] == (Artifact,):
        return {}
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        return typing.get_type_hints(annotation)
    return {"output": annotation}


def accepts(expected: object, offered: object) -> bool:
    """Return whether a wire may carry `offered` into a socket of type `expected`."""
    if expected is Any or expected == offered:
        return True
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(member, offered) for member in typing.get_args(expected))
    if origin is Literal:
        return offered is str and all(isinstance(choice, str) for choice in typing.get_args(expected))
    if origin is Annotated:
        return accepts(typing.get_args(expected)[0], offered)
    if expected is float and offered is int:
        return True
    return isinstance(expected, type) and isinstance(offered, type) and issubclass(offered, expected)
