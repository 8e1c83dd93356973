"""Shared code of merge nodes: combine inputs in one operation, and refuse incompatible ones at once."""

from typing import Any

from graph_runtime.context import RunContext
from graph_runtime.node import Known
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint, Merged, Source, name_of
from nodes.diffusion.merging.plan import SAME, of_two_families, planned

PARTS = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoders"}


def merged(
    method: str,
    inputs: list[Checkpoint],
    weights: tuple[float, ...],
    context: RunContext,
    sockets: tuple[str, ...] = (),
    **settings: Any,
) -> Checkpoint:
    """Return the merge as a value, its inputs compared by their headers; nothing is computed.

    `sockets` are the inputs' when each has its own.
    """
    recipe = Merged(method=method, inputs=tuple(given.recipe for given in inputs), weights=weights, **settings)
    plan = planned(recipe, context.locate, sockets)
    taken = plan.taken_over()
    if alone := plan.left_alone() - taken.total():
        context.message(f"{alone} tensors that not every input has are taken from the first.", "warning")
    for part, count in taken.items():
        lacking = f"{name_of(recipe.inputs[0])} lacks {count} tensors of the {PARTS[part]}"
        context.message(f"{lacking}: they are taken as they are from the next input that has them.", "warning")
    return Checkpoint(recipe, inputs[0].family)


class OfOneKind:
    """A node whose checkpoints must be of one family and in one layout, as `merged` asks too; checked before anything runs."""

    def check_known(self, known: Known) -> None:
        arriving = [(socket, found) for socket, each in known.items() for found in each]
        first = arriving[0][1] if arriving else {}
        for socket, found in arriving[1:]:
            if found["family"] != first["family"]:
                raise of_two_families((first["name"], first["family"]), (found["name"], found["family"]), socket)
            if found["layout"] and first["layout"] and found["layout"] != first["layout"]:
                message = f"{first['name']} is a {first['layout']} and {found['name']} is a {found['layout']}."
                raise InputError(message, field=socket, remedy=SAME)


def source_of(model: DiffusionModel, socket: str = "model") -> Source:
    """Return a model's weights, with trained ones in place of its own; other adapters are left out."""
    if model.initial_seed is not None:
        remedy = "Wire LoadModel, or save the trained model with SavePipeline and load that."
        raise InputError(f"{model.name} is new: a merge reads files, and its weights are in none.", field=socket, remedy=remedy)
    changes = [change for change in model.adapters if isinstance(change, WeightChange) and change.weights]
    name = ", ".join([model.name, *(change.label for change in changes)])
    files = tuple(change.weights for change in changes if change.weights)
    average = model.moving_average
    return Source(digest=model.digest, name=name, resolution=model.resolution, changes=files, moving_average=average)


def checkpoint_of(model: DiffusionModel | Checkpoint, socket: str = "model") -> Checkpoint:
    """Return a model's weights as a checkpoint; raise InputError for other adapters."""
    if isinstance(model, Checkpoint):
        return model
    if not all(isinstance(change, WeightChange) and change.weights for change in model.adapters):
        remedy = "Wire a model as LoadModel or FineTune returns it; LoRAs take part by BakeLoRA."
        raise InputError(f"{model.name} has adapters besides trained weights.", field=socket, remedy=remedy)
    return Checkpoint(source_of(model, socket), model.family)
