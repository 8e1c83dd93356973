"""Names of a transformer whose single files name its layers otherwise, and fuse some, such as queries, keys and values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from nodes.diffusion.families.protocol import Conversion, Counterpart, Rows


@dataclass(frozen=True)
class Renamed:
    """The beginning of names in a folder, and in a file; `*` is the number of a block."""

    ours: str
    theirs: str
    conversion: Conversion = ""


@dataclass(frozen=True)
class RenamedLayers:
    """The names of a part by rules, of which the first that fits counts; what none fits is called the same in both."""

    rules: tuple[Renamed, ...]

    def to_file(self, name: str) -> Counterpart:
        """Return the file's tensor that holds a folder's, both without prefix."""
        found = ((rule, _exchanged(name, rule.ours, rule.theirs)) for rule in self.rules)
        return next((Counterpart(theirs, rule.conversion) for rule, theirs in found if theirs), Counterpart(name))

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        """Return the folder's tensors that a file's holds, both without prefix: several where they are fused."""
        rule = next((rule for rule in self.rules if _exchanged(name, rule.theirs, rule.ours)), None)
        rules = self._fused[rule.theirs] if rule else ()
        found = tuple(Counterpart(_exchanged(name, own.theirs, own.ours), own.conversion) for own in rules)
        return found or (Counterpart(name),)

    @cached_property
    def _fused(self) -> dict[str, tuple[Renamed, ...]]:
        """The rules by their names in files: several where layers are fused."""
        return {one.theirs: tuple(rule for rule in self.rules if rule.theirs == one.theirs) for one in self.rules}


def fused(ours: str, layers: Sequence[str], theirs: str, shares: tuple[int, ...] = (1, 1, 1)) -> tuple[Renamed, ...]:
    """Return the rules of layers of a block whose rows follow one another in a file's layer."""
    return tuple(Renamed(f"{ours}.{layer}", theirs, Rows(index, shares)) for index, layer in enumerate(layers))


def _exchanged(name: str, old: str, new: str) -> str:
    """Return a name that begins with `old`, a whole step, with `new` in its place and its numbers kept; empty for another."""
    if not (found := _beginning(old).match(name)):
        return ""
    for number in found.groups():
        new = new.replace("*", number, 1)
    return new + name[found.end() :]


@cache
def _beginning(old: str) -> re.Pattern[str]:
    numbers = re.escape(old).replace(r"\*", r"(\d+)")
    return re.compile(rf"{numbers}(?=\.|$)")
