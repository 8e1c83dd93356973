"""MergeBlockWeighted."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts, families
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.diffusion.merging.blocks import preset
from nodes.merging.merges import OfOneKind, merged


class MergeBlockWeighted(OfOneKind, Node):
    """Average two checkpoints with a ratio of its own for each block of the UNet."""

    synonyms: ClassVar[tuple[str, ...]] = ("MBW", "merge block weighted", "SuperMerger")

    version: ClassVar[int] = 3

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of b in all that no block below names, such as the text encoder and the VAE."""
    preset: Literal["none", "GRAD_V", "GRAD_A", "IN", "MID", "OUT"] = "none"
    """`GRAD_V` takes b at both ends of the UNet and a in the middle, `GRAD_A` the other way; the others take one part of b."""
    blocks: str = ""
    """Shares of b by block, as `IN00=0.2, M00=1, OUT=0.5`, over the preset's; or 26 numbers in the order BASE, IN00 to
    IN11, M00, OUT00 to OUT11 (SDXL: 20), one less without BASE, or one more for the VAE. The layers behind the last block
    belong to it. Those that embed time and size belong to BASE, as in sd-mecha; SuperMerger counts them to IN00."""

    def check(self, wired: Wired) -> None:
        refusals = [self._refusal(family.blocks) for family in families() if family.blocks]
        if refusals[0] and all(refusals):
            raise refusals[0]

    def run(self, a: Checkpoint, b: Checkpoint, context: RunContext) -> Checkpoint:
        names = () if a.family == "other" else facts(a.family).blocks
        if not names:
            raise InputError("the blocks of this checkpoint have no known names.", field="a", remedy="Use MergeWeighted.")
        ratios = {"BASE": self.ratio, **preset(self.preset, names), **self._given(names)}
        if names[-1] in ratios:
            ratios["OUT"] = ratios[names[-1]]
        return merged("weighted", [a, b], (1 - self.ratio, self.ratio), context, ("a", "b"), blocks=tuple(ratios.items()))

    def _refusal(self, names: tuple[str, ...]) -> InputError | None:
        try:
            self._given(names)
        except InputError as error:
            return error
        return None

    def _given(self, names: tuple[str, ...]) -> dict[str, float]:
        parts = [part.strip() for part in self.blocks.replace("\n", ",").split(",") if part.strip()]
        if parts and not any("=" in part for part in parts):
            given = {len(names) - 1: names[1:], len(names): names, len(names) + 1: (*names, "VAE")}.get(len(parts))
            if given is None:
                remedy = f"Give {len(names)} numbers, {len(names) - 1} without BASE, or {len(names) + 1} with the VAE."
                raise InputError(f"there are {len(parts)} numbers.", field="blocks", remedy=remedy)
            return {name: _ratio(part) for name, part in zip(given, parts, strict=True)}
        found: dict[str, float] = {}
        for part in parts:
            group, _, number = (text.strip() for text in part.partition("="))
            matching = [name for name in (*names, "VAE") if name == group or (group in ("IN", "OUT") and name.startswith(group))]
            if not matching:
                raise InputError(f"there is no block {group!r}.", field="blocks", remedy=f"There are {', '.join(names)}.")
            found |= dict.fromkeys(matching, _ratio(number))
        return found


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(f"{text!r} is no share from 0 to 1.", field="blocks", remedy="Write it as 0.25.")
    return value
