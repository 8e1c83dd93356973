"""ResizeLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.handles.adapters import ALGORITHM_NAMES, Adapter, LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel
from nodes.merging.loras import loras_of


class ResizeLoRA(Node):
    """Make the LoRAs of a model smaller, losing as little of what they learned as that rank allows.

    LoHa, LoKr and LoCon become plain pairs of matrices; a DoRA cannot be resized.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("resize LoRA", "reduce rank", "shrink", "SVD")

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    """Inner dimension of each pair of matrices, at most."""
    energy: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Below 1, each layer keeps only as many of its `rank` as hold this share of its squared change."""

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        found = loras_of([model])
        adapters = [self._resized(one, model, context) if one in found else one for one in model.adapters]
        return replace(model, adapters=tuple(adapters))

    def _resized(self, lora: Adapter, model: DiffusionModel, context: RunContext) -> LowRankAdapter:
        from nodes.merging.loras import shapes_of

        assert isinstance(lora, LowRankAdapter)
        maker, plain = diffusion.merging.LoraMaker(), replace(lora, unet_strength=1.0, text_encoder_strength=1.0)
        with diffusion.merging.reading() as reader:
            cut = (self.rank, self.energy)
            layers = diffusion.merging.summed(
                [diffusion.merging.Weighted(plain, 1.0)], shapes_of(model, context), cut, reader, context.progress
            )
            made = maker.made("resized", layers, context.add_file)
        share = 1 - maker.lost / maker.squares if maker.squares else 1.0
        context.message(f"{lora.label}: rank {lora.rank} became {made.rank}, which holds {share:.1%} of its squared change.")
        strengths = {"unet_strength": lora.unet_strength, "text_encoder_strength": lora.text_encoder_strength}
        name = (lora.name or ALGORITHM_NAMES[lora.algorithm]).removesuffix(f", rank {lora.rank}")
        return replace(made, name=f"{name}, rank {made.rank}", training=lora.training, **strengths)
