"""Names of models whose single files begin every tensor with a prefix of its part, and hold some parts or all of them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Protocol

from nodes.diffusion.families.protocol import Counterpart


class PartNames(Protocol):
    """Names of one part's tensors in its folder and in a single file, both without prefix."""

    def to_file(self, name: str) -> Counterpart | None:
        """Return the file's tensor that holds a folder's; None for a name that no such part has."""
        ...

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a file's holds: several where they are fused, () for none."""
        ...


class SameNames:
    """The names of a part whose files say what folders say."""

    def to_file(self, name: str) -> Counterpart:
        """Return the name itself."""
        return Counterpart(name)

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the name itself."""
        return (Counterpart(name),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameNames)


@dataclass(frozen=True)
class NamesByPart:
    """The naming of one model: what takes the place of its parts at the beginning of names, and each part's own names."""

    denoiser: str
    """The folder of the denoiser."""
    prefixes: Mapping[str, tuple[str, ...]]
    """How a part's tensors begin in single files, by folder: as they are written first, then as others spell them."""
    parts: Mapping[str, PartNames]
    """The names of each part in `prefixes`, by folder."""

    def to_file(self, name: str) -> Counterpart | None:
        """Return the single file's tensor that holds a folder's; None for a name that the family does not have."""
        part, _, inner = name.partition(".")
        found = self.parts[part].to_file(inner) if part in self.parts else None
        return Counterpart(self.prefixes[part][0] + found.name, found.conversion) if found else None

    def in_file(self, name: str, present: Container[str]) -> Counterpart | None:
        """Return the same among the tensors of one file, which may hold the part alone, in a folder's names too."""
        part, _, inner = name.partition(".")
        if part not in self.parts:
            return None
        spelled = [own for own in (self.parts[part].to_file(inner), Counterpart(inner)) if own]
        found = (Counterpart(prefix + own.name, own.conversion) for prefix in self.prefixes[part] for own in spelled)
        return next((own for own in found if own.name in present), None)

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a single file's holds: several where they are fused, () for none."""
        whole = (part for part, prefixes in self.prefixes.items() if name.startswith(prefixes[0]))
        # what no part's name begins with is a denoiser alone
        part = next(whole, self.denoiser)
        spelled = next((prefix for prefix in self.prefixes[part] if name.startswith(prefix)), "")
        found = self.parts[part].to_folder(name.removeprefix(spelled))
        return tuple(Counterpart(f"{part}.{own.name}", own.conversion) for own in found)
