"""ExtractLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint
from nodes.diffusion.merging.plan import planned
from nodes.merging.merges import checkpoint_of


class ExtractLoRA(Node):
    """Turn what a fine-tuned model learned into a LoRA: the difference from its base, cut to a low rank layer by layer.

    The result is the base with the LoRA over it: draw with it, or write it with SaveSafetensors.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("SVD", "extract LoRA", "LoCon", "difference", "dreambooth to LoRA")

    rank: Annotated[int, Field(ge=1, le=4096)] = 32
    """Inner dimension of each pair of matrices, at most; higher keeps more of the difference and saves a larger file."""
    energy: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Below 1, each layer keeps only as many of its `rank` as hold this share of its squared difference."""
    text_encoder: bool = True
    """Take the difference of the text encoders too, if there is one."""
    convolutions: bool = True
    """Take 3x3 convolutions too, as LoCon."""
    biases: bool = False
    """Keep the changes of biases whole; A1111, kohya and diffusers do not read such a file rightly."""

    def run(self, base: DiffusionModel, tuned: DiffusionModel | Checkpoint, context: RunContext) -> DiffusionModel:
        """`tuned` was trained from `base`, or merged from such models."""

        recipes = [checkpoint_of(base, "base").recipe, checkpoint_of(tuned, "tuned").recipe]
        if tuned.family != base.family:
            message = f"the base is {base.family} and the tuned model {tuned.family}."
            raise InputError(message, field="tuned", remedy="Wire a model that was trained from the base.")
        plans = [planned(recipe, context.locate) for recipe in recipes]
        maker, known = diffusion.merging.LoraMaker(), diffusion.merging.parameter_shapes(base, context.locate(base.digest))
        with diffusion.merging.reading() as reader:
            difference = diffusion.merging.Difference(*(diffusion.merging.Side(plan, reader, known) for plan in plans))
            layers = difference.layers(text_encoder=self.text_encoder, convolutions=self.convolutions)
            found = difference.extracted(layers, self.rank, self.energy, biases=self.biases, progress=context.progress)
            lora = maker.made("extracted", found, context.add_file)
            left = difference.left_out(layers, text_encoder=self.text_encoder, biases=self.biases)
        if not maker.ranks:
            raise InputError("no layer that a LoRA can change differs.", field="tuned", remedy="Wire a trained model here.")
        share = 1 - maker.lost / maker.squares if maker.squares else 1.0
        ranks = f"{len(maker.ranks)} layers of rank {min(maker.ranks)} to {lora.rank}"
        context.message(f"{ranks} hold {share:.1%} of their squared change.")
        if left:
            lost = sum(left) / (sum(left) + maker.squares)
            text = f"{len(left)} other changed parameters, such as norms, are not in a LoRA: {lost:.1%} of the squared change."
            context.message(text, "warning")
        return replace(base, adapters=(*base.adapters, replace(lora, name=f"extracted, rank {lora.rank}")))
