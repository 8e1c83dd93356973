"""AsModel."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter, WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint, name_of, sources_of
from nodes.diffusion.merging.plan import planned


class AsModel(Node):
    """Carry out what merge nodes say, and use the result as a model of this graph: draw with it, train it, save it whole.

    Weights that the merge leaves as they are in the model are not written a second time. Trained weights and LoRAs of the
    model give way to the checkpoint's.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("checkpoint to model", "sample a merge", "use merged model")

    name: str = ""
    """What grids call it; left empty, the names of what was merged."""

    def run(self, checkpoint: Checkpoint, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        """`model` gives what a checkpoint lacks: tokenizers, architecture, prediction type, and words applied to it."""

        if checkpoint.family != model.family:
            message = f"the checkpoint is {checkpoint.family} and the model {model.family}."
            raise InputError(message, field="model", remedy="Wire the model that the first checkpoint is.")
        plan = planned(checkpoint.recipe, context.locate)
        first, shapes = (
            next(sources_of(checkpoint.recipe)),
            diffusion.merging.parameter_shapes(model, context.locate(model.digest)),
        )
        found = diffusion.merging.weights_in(plan.tensors, model.family)
        diffusion.merging.check_shapes(plan.tensors, found, shapes)
        same = first.digest == model.digest and model.initial_seed is None and not model.moving_average
        own_vae = not any(isinstance(adapter, WeightChange) and adapter.vae for adapter in model.adapters)
        if not own_vae and not any(weight.startswith("vae.") for weight in found):
            remedy = "Wire the model as it was before its VAE was trained, or a checkpoint with a VAE."
            raise InputError("the model's VAE was trained, and the checkpoint holds none.", field="model", remedy=remedy)
        wanted = {
            weight: at
            for weight, at in found.items()
            if weight in shapes and (not same or plan.is_touched(at[0]) or (weight.startswith("vae.") and not own_vae))
        }
        lacking = len(shapes.keys() - found.keys())
        if lacking:
            context.message(f"{lacking} weights that the checkpoint lacks are the model's.", "warning")
        kept = tuple(adapter for adapter in model.adapters if not isinstance(adapter, LowRankAdapter | WeightChange))
        if not wanted:
            return replace(model, adapters=kept)
        path = context.add_file(
            ".safetensors",
            lambda path: diffusion.formats.write_one_by_one(path, diffusion.merging.weights_of(plan, wanted, context.progress)),
        )
        parts = {weight.partition(".")[0] for weight in wanted}
        change = WeightChange(
            name=self.name or name_of(checkpoint.recipe),
            unet="unet" in parts,
            text_encoder=any(part.startswith("text_encoder") for part in parts),
            vae="vae" in parts,
            weights=path,
        )
        return replace(model, vae_digest=path.name if change.vae else model.vae_digest, adapters=(change, *kept))
