"""Declarations of a node class whose names in files have changed, so that older files keep their meaning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Migration:
    """The change from one schema version of a node to the next: renamed sockets and fields first, then a function."""

    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of fields and inputs by old name; also applied to wires, sweeps and sockets of subgraphs."""
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of outputs by old name; also applied to wires and sockets of subgraphs."""
    removed: frozenset[str] = frozenset()
    """Names, after renaming, of fields that never had an effect; wires, sweeps and sockets that lead to them are dropped too."""
    change: Callable[[Fields], Fields] = dict
    """Returns the fields with any other change, such as of a unit or a choice; does not modify its argument."""

    def migrated(self, fields: Fields) -> Fields:
        """Return the fields of the next version; a value under a new name wins over one under its old name."""
        renamed = {self.inputs[name]: value for name, value in fields.items() if name in self.inputs}
        kept = {**renamed, **{name: value for name, value in fields.items() if name not in self.inputs}}
        return self.change({name: value for name, value in kept.items() if name not in self.removed})
