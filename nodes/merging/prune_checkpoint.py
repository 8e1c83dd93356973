"""PruneCheckpoint."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.values import Checkpoint, with_sources


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
    """Use the moving average that a single file holds beside its UNet (EMA), in place of the UNet's weights."""

    def run(self, checkpoint: Checkpoint, context: RunContext) -> Checkpoint:
        wanted = {"unet": self.unet, "vae": self.vae, "text_encoder": self.text_encoders}
        parts = tuple(part for part, is_kept in wanted.items() if is_kept)
        if not parts:
            raise InputError("nothing is kept.", field="unet", remedy="Keep at least one part.")
        average = self.moving_average
        recipe = with_sources(
            checkpoint.recipe,
            lambda source: replace(source, parts=parts, moving_average=average or source.moving_average),
        )
        planned(recipe, context.locate)
        return Checkpoint(recipe, checkpoint.family if self.unet else "other")
