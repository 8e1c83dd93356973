"""What a node class declares when names in its files change, so that older files keep their meaning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Migration:
    """The change from one schema version of a node to the next: renamed sockets and fields first, then a function."""

    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of fields and inputs by their old ones; wires, sweeps and sockets of subgraphs follow."""
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of outputs by their old ones; wires and sockets of subgraphs follow."""
    change: Callable[[Fields], Fields] = dict
    """Return the fields for whatever else has changed in them, such as a unit or a choice; it leaves its argument as it is."""

    def migrated(self, fields: Fields) -> Fields:
        """Return the fields as the next version has them; a value under a new name wins over one under its old name."""
        renamed = {self.inputs[name]: value for name, value in fields.items() if name in self.inputs}
        return self.change({**renamed, **{name: value for name, value in fields.items() if name not in self.inputs}})


def without(*names: str) -> Callable[[Fields], Fields]:
    """Return a change that removes fields which never had an effect."""
    return lambda fields: {name: value for name, value in fields.items() if name not in names}
