"""PruneCheckpoint."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.recipes import Checkpoint, Pruned, Recipe, name_of, sources_of, with_sources
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.source_tensors import holds_average


class PruneCheckpoint(Node):
    """Keep only what is needed of a checkpoint: UNet, VAE and text encoders, or some of them; all else is left out.

    What is left out are moving averages, and what training programs keep beside the model. SaveSafetensors chooses the
    precision: fp16 halves the size of fp32.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("prune", "EMA", "make smaller", "strip", "remove VAE")

    unet: bool = True
    """Keep the UNet."""
    vae: bool = True
    """Keep the VAE."""
    text_encoders: bool = True
    """Keep the text encoders."""
    moving_average: bool = False
    """Use the moving average that a single file holds beside its UNet (EMA), in place of the UNet's weights; of a merge, that
    of every file that holds one."""

    def check(self, wired: Wired) -> None:
        if not self.unet and not self.vae and not self.text_encoders:
            raise InputError("nothing is kept.", field="unet", remedy="Keep at least one part.")

    def run(self, checkpoint: Checkpoint, context: RunContext) -> Checkpoint:
        wanted = {"unet": self.unet, "vae": self.vae, "text_encoder": self.text_encoders}
        parts = tuple(part for part, is_kept in wanted.items() if is_kept)
        self.check({})
        recipe = self._averaged(checkpoint.recipe, context) if self.moving_average else checkpoint.recipe
        pruned = Pruned(input=recipe, parts=parts)
        if not planned(pruned, context.locate).tensors:
            message = f"{name_of(recipe)} holds no tensors of {' and '.join(parts)}."
            raise InputError(message, field="checkpoint", remedy="Keep other parts, or load another checkpoint.")
        return Checkpoint(pruned, checkpoint.family if self.unet else "other")

    def _averaged(self, recipe: Recipe, context: RunContext) -> Recipe:
        """The recipe with the moving average of every file that holds one of the weights it has."""
        having = [source for source in sources_of(recipe) if holds_average(source, context.locate(source.digest))]
        if not having:
            remedy = "Turn moving_average off, or load the file that is called ema or full, before its UNet is trained."
            message = f"{name_of(recipe)} holds no moving average of its UNet."
            raise InputError(message, field="moving_average", remedy=remedy)
        return with_sources(recipe, lambda source: replace(source, moving_average=source in having))
