"""BakeLoRA."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import Header
from nodes.diffusion.handles.adapters import LowRankAdapter, WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Baked, Checkpoint
from nodes.diffusion.merging.lora_layers import changeable_in, layers_of
from nodes.diffusion.merging.plan import planned
from nodes.merging.loras import loras_of
from nodes.merging.merges import source_of

Strength = Annotated[float, Field(ge=-10, le=10)]


class BakeLoRA(Node):
    """Add the LoRAs of a model to the weights themselves: its own, or those of the checkpoint that is wired.

    LoRA, LoCon, LoHa, LoKr, DoRA and rsLoRA, several at once, loaded by LoadLoRA or trained in this graph. Nothing is
    computed before the result is saved, and what comes out can be merged further.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("merge LoRA into checkpoint", "fuse LoRA", "apply LoRA", "LyCORIS", "DoRA")

    unet_strength: Strength = 1.0
    """How much the LoRAs change the UNet, times what LoadLoRA says of each; 0 leaves it as it is, below 0 they are taken away."""
    text_encoder_strength: Strength = 1.0
    """How much they change the text encoders, times what LoadLoRA says of each; 0 leaves them as they are, below 0 they
    are taken away."""

    def run(self, model: DiffusionModel, context: RunContext, checkpoint: Checkpoint | None = None) -> Checkpoint:
        """`checkpoint`, if it is wired, takes the LoRAs in place of the model that carries them."""
        loras = self._loras(model, context)
        into = checkpoint or Checkpoint(source_of(model), model.family)
        if into.family != model.family:
            message = f"the LoRAs are for {model.family} and the checkpoint is {into.family}."
            raise InputError(message, field="checkpoint", remedy="Wire a checkpoint of the model's family.")
        recipe, earlier = into.recipe, ()
        if isinstance(recipe, Baked):  # beside each other, so that their order does not matter
            recipe, earlier = recipe.input, recipe.loras
        baked = Baked(input=recipe, loras=(*earlier, *loras))
        header = planned(baked, context.locate).tensors
        for lora in loras:
            _check_layers(lora, header, context)
        return Checkpoint(baked, into.family)

    def _loras(self, model: DiffusionModel, context: RunContext) -> tuple[LowRankAdapter, ...]:
        for adapter in model.adapters:
            if not isinstance(adapter, LowRankAdapter | WeightChange):
                context.message(f"{adapter.label} is no change of weights and is left out.", "warning")
        return tuple(
            replace(
                lora,
                unet_strength=lora.unet_strength * self.unet_strength,
                text_encoder_strength=lora.text_encoder_strength * self.text_encoder_strength,
            )
            for lora in loras_of([model])
        )


def _check_layers(lora: LowRankAdapter, header: Header, context: RunContext) -> None:
    """Raise InputError for a LoRA of other layers; warn if the checkpoint lacks some of its layers."""
    import torch

    parts, layers = changeable_in(header), layers_of(lora)
    missing = [layer for layer in layers if layer not in parts]
    remedy = "Wire a checkpoint of the architecture that the LoRA was trained on."
    if missing and len(missing) == len(layers):
        message = f"the checkpoint has none of the {len(layers)} layers of {lora.label}, such as {missing[0]}."
        raise InputError(message, field="checkpoint", remedy=remedy)
    for layer in layers.keys() & parts.keys():
        shadows = {leaf: torch.empty(entry.shape, device="meta") for leaf, entry in layers[layer].items()}
        if not diffusion.adapters.fits(shadows, parts[layer].shape):
            message = f"what {lora.label} holds for {layer} does not fit the checkpoint's {list(parts[layer].shape)}."
            raise InputError(message, field="checkpoint", remedy=remedy)
    if missing:
        count, first = len(missing), missing[0]
        context.message(f"{count} of {len(layers)} layers of {lora.label} are not in the checkpoint, such as {first}.", "warning")
