"""InjectLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.adapters import LowRankAdapter
from nodes.diffusion.values import DiffusionModel


class InjectLoRA(Node):
    """Attach low-rank matrices, not yet trained, to a model."""

    synonyms: ClassVar[tuple[str, ...]] = ("network module", "low rank", "adapter")

    rank: Annotated[int, Field(ge=1, le=320)] = 8
    """Inner dimension of each matrix pair; higher learns more and saves a larger file."""
    alpha: Annotated[float, Field(gt=0, le=10_000)] = 8.0
    """Strength: the update is multiplied by alpha / rank."""
    targets: Literal["attention", "attention and feed-forward", "custom"] = "attention"
    """Layers that are adapted: the projections of all attention, these and the feed-forward layers, or those named below."""
    custom_targets: str = ""
    """For `custom`: endings of UNet layer names, separated by commas, such as `attn2.to_k, attn2.to_v`."""
    text_encoder: bool = False
    """Adapt the text encoders too; the training then needs the captions themselves."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the first values of the matrices."""

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        from nodes.diffusion.folders import inspect_folder
        from nodes.diffusion.lora import text_encoder_targets, unet_targets

        folder = context.locate(model.digest)
        custom = [ending.strip() for ending in self.custom_targets.split(",") if ending.strip()]
        text_targets: tuple[tuple[str, ...], ...] = ()
        if self.text_encoder:
            text_targets = text_encoder_targets(folder, inspect_folder(folder), self.targets, model.clip_skip)
        adapter = LowRankAdapter(
            rank=self.rank,
            alpha=self.alpha,
            unet_targets=unet_targets(folder, self.targets, custom),
            text_encoder_targets=text_targets,
            seed=self.seed,
        )
        return replace(model, adapters=(*model.adapters, adapter))
