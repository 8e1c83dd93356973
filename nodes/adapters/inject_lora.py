"""InjectLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.models import DiffusionModel


class InjectLoRA(Node):
    """Attach low-rank matrices, not yet trained, to a model.

    Begin with `lora`. `locon` reaches texture too, `loha` has a higher rank than its matrices, `lokr` makes the smallest
    files, `dora` learns more like full fine-tuning and is slower, and `rslora` keeps high ranks from fading.

    LoHa and LoKr: AUTOMATIC1111 and ComfyUI; sd-scripts reads it with LyCORIS' module; not diffusers.
    DoRA: AUTOMATIC1111 and ComfyUI; sd-scripts takes it for a plain LoRA but with LyCORIS' module; diffusers takes it for a
    plain LoRA. The others load in all four.
    """

    synonyms: ClassVar[tuple[str, ...]] = (
        "network module", "low rank", "adapter", "LyCORIS", "LoCon", "LoHa", "LoKr", "DoRA", "rsLoRA",
    )  # fmt: skip

    algorithm: Literal["lora", "locon", "loha", "lokr", "dora", "rslora"] = "lora"
    """`lora`: a product of two matrices; `locon`: the same on 3x3 convolutions too; `loha`: two products, multiplied number
    by number; `lokr`: a Kronecker product; `dora`: direction and length apart; `rslora`: alpha / sqrt(rank)."""
    rank: Annotated[int, Field(ge=1, le=320)] = 8
    """Inner dimension of each matrix pair; higher learns more and saves a larger file."""
    alpha: Annotated[float, Field(gt=0, le=10_000)] = 8.0
    """Strength: the update is multiplied by alpha / rank, in `rslora` by alpha / sqrt(rank)."""
    targets: Literal["attention", "attention and feed-forward", "custom"] = "attention"
    """Layers that are adapted: the projections of all attention, these and the feed-forward layers, or those named below."""
    text_encoder: bool = False
    """Adapt the text encoders too; the training then needs the captions themselves."""
    custom_targets: str = ""
    """For `custom`: endings of UNet layer names, separated by commas, such as `attn2.to_k, attn2.to_v`."""
    factor: Annotated[int, Field(ge=1, le=10_000)] = 8
    """For `lokr`: how large the smaller matrix may be; smaller factors learn more and save a larger file."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the first values of the matrices."""

    def check(self, wired: Wired) -> None:
        if self.targets == "custom" and not self.custom_targets.strip(" ,"):
            remedy = "Give endings of layer names, such as attn2.to_k, separated by commas."
            raise InputError("no layers are named.", field="custom_targets", remedy=remedy)

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "LoRA")
        if self.text_encoder:
            check_known_method(known["model"], "text encoder training", field="text_encoder")

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        check_method(model.family, "LoRA")
        if self.text_encoder:
            check_method(model.family, "text encoder training", field="text_encoder")
        folder = context.locate(model.digest)
        custom = [ending.strip() for ending in self.custom_targets.split(",") if ending.strip()]
        text_targets: tuple[tuple[str, ...], ...] = ()
        if self.text_encoder:
            text_targets = diffusion.adapters.text_encoder_targets(model, folder, self.targets)
        adapter = LowRankAdapter(
            algorithm=self.algorithm,
            rank=self.rank,
            alpha=self.alpha,
            factor=self.factor,
            unet_targets=diffusion.adapters.unet_targets(
                model, folder, self.targets, custom, convolutions=self.algorithm == "locon"
            ),
            text_encoder_targets=text_targets,
            seed=self.seed,
        )
        return replace(model, adapters=(*model.adapters, adapter))
