"""BakeVAE."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles
from nodes.diffusion.handles.recipes import Checkpoint, Merged, Spelling, with_sources
from nodes.diffusion.merging.plan import planned
from nodes.diffusion.merging.source_tensors import FOLDER_VAE


class BakeVAE(Node):
    """Give a checkpoint another VAE: that of a second checkpoint, in either layout, or of a VAE's own file."""

    synonyms: ClassVar[tuple[str, ...]] = ("replace VAE", "bake in VAE", "vae-ft-mse", "washed out colors")

    def known(self, files: OutsideFiles) -> Json:
        return {}  # the first of what is known of the inputs might be the VAE's

    def run(self, checkpoint: Checkpoint, vae: Checkpoint, context: RunContext) -> Checkpoint:
        """Of `vae` only the VAE is read."""
        plan = planned(checkpoint.recipe, context.locate)
        spelling: Spelling = "folder" if any(name.startswith(FOLDER_VAE) for name in plan.tensors) else "file"
        donor = with_sources(vae.recipe, lambda source: replace(source, vae_spelling=spelling))
        recipe = Merged(method="VAE", inputs=(checkpoint.recipe, donor), weights=(1.0,))
        planned(recipe, context.locate, ("checkpoint", "vae"))
        return Checkpoint(recipe, checkpoint.family)
