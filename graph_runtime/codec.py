"""Values on wires to JSON and back: bulk data are files of the store, so a value is small and names the files it needs."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

FILE = "$file"


class NotStorable(TypeError):
    """A value that has no JSON form; it stays in memory for one run."""


def encode(value: object, name_of: Callable[[Path], str]) -> str:
    """Return the JSON text of a value; `name_of` gives a store file's name for its path."""
    return json.dumps(_plain(value, name_of), separators=(",", ":"))


def decode(text: str, kind: object, path_of: Callable[[str], Path]) -> Any:
    """Return the value of type `kind` from its JSON text; `path_of` gives a store file's path for its name."""
    found = _restored(json.loads(text), path_of)
    return found if kind is Any else adapter(kind).validate_python(found)


def files_in(text: str) -> Iterator[str]:
    """Yield the names of the store files that a JSON text needs."""
    if FILE in text:
        yield from _names(json.loads(text))


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, made once."""
    return TypeAdapter(kind)


def _plain(value: object, name_of: Callable[[Path], str]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return {FILE: name_of(value)}
    if isinstance(value, tuple | list):
        return [_plain(item, name_of) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, name_of) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), name_of) for field in dataclasses.fields(value)}
    raise NotStorable(f"{type(value).__name__} has no JSON form")


def _restored(value: object, path_of: Callable[[str], Path]) -> Any:
    if isinstance(value, list):
        return [_restored(item, path_of) for item in value]
    if isinstance(value, dict):
        if value.keys() == {FILE}:
            return path_of(value[FILE])
        return {key: _restored(item, path_of) for key, item in value.items()}
    return value


def _names(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _names(item)
    elif isinstance(value, dict):
        if value.keys() == {FILE}:
            yield value[FILE]
        else:
            for item in value.values():
                yield from _names(item)
