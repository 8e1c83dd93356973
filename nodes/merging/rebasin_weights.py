"""RebasinWeights."""

from collections.abc import Mapping
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_method, titles
from nodes.diffusion.formats.checkpoint_headers import family_of
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.recipes import Checkpoint, Permuted, name_of, sources_of
from nodes.diffusion.merging.lora_layers import all_parameters_in
from nodes.diffusion.merging.permutation_spec import Units, units_in
from nodes.diffusion.merging.plan import MergePlan, planned
from nodes.merging.merges import checkpoint_of


class RebasinWeights(Node):
    """Put the hidden units of a model in the order that lies nearest to a reference, before both are merged (git re-basin).

    What the model computes stays the same. Attention heads change places, and so do the units inside of each head and inside
    of feed-forward and residual layers, in UNet, text encoders and VAE. What flows from layer to layer is coupled through the
    whole model and keeps its order. Models that were tuned from one base mostly have one order already: then nothing changes.
    A LoRA belongs to one order, so bake those of the model before this node.
    """

    resumable: ClassVar[bool] = True
    synonyms: ClassVar[tuple[str, ...]] = ("git re-basin", "git rebasin", "weight matching", "permutation", "align models")

    def run(self, model: DiffusionModel | Checkpoint, reference: DiffusionModel | Checkpoint, context: RunContext) -> Checkpoint:
        """`model` is put in order; `reference` stays as it is, and is merged with what comes out."""

        ours, theirs = checkpoint_of(model), checkpoint_of(reference, "reference")
        plans = [planned(checkpoint.recipe, context.locate) for checkpoint in (ours, theirs)]
        rebasin = diffusion.merging.Rebasin(plans[0], plans[1], _common_units(plans, context), context.progress_folder)
        path = context.add_file(".safetensors", lambda path: rebasin.write(path, context.progress))
        name = name_of(theirs.recipe)
        if not rebasin.reordered:
            context.message(f"No order lies nearer to {name} than the one that there is.")
            return ours
        before, after = rebasin.distances
        count = f"{rebasin.reordered} of {len(rebasin.units)} hidden layers"
        context.message(
            f"{count} are in another order: all of them lie {after:.4g} from {name} now, and lay {before:.4g} from it."
        )
        return Checkpoint(Permuted(input=ours.recipe, orders=path, reference=name), ours.family)


def _common_units(plans: list[MergePlan], context: RunContext) -> Mapping[str, Units]:
    """Return the hidden units of both models; raise InputError where there are none, or theirs are others."""
    remedy = "Wire two models of one architecture."
    names, families = [name_of(plan.recipe) for plan in plans], [family_of(plan.tensors) for plan in plans]
    for name, family, socket in zip(names, families, ("model", "reference"), strict=True):
        if family == "other":
            message = f"{name} holds no UNet of {titles('or', 'Rebasin')}."
            raise InputError(message, field=socket, remedy="Wire a checkpoint that has one.")
        check_method(family, "Rebasin", socket)
    if families[0] != families[1]:
        message = f"{names[0]} is of the family {families[0]} and {names[1]} of {families[1]}."
        raise InputError(message, field="reference", remedy=remedy)
    parts = [all_parameters_in(plan.tensors) for plan in plans]
    places = [context.locate(next(sources_of(plan.recipe)).digest) for plan in plans]
    ours, theirs = (units_in(parameters, place) for parameters, place in zip(parts, places, strict=True))
    common = ours.keys() & theirs.keys()
    for module in common:
        weights = [use.weight for group in ours[module].axis_groups for use in group]
        if ours[module] != theirs[module] or any(parts[0][name].shape != parts[1][name].shape for name in weights):
            message = f"the hidden units of {module} are others in {names[0]} than in {names[1]}."
            raise InputError(message, field="reference", remedy=remedy)
    if not common:
        raise InputError(f"{names[0]} and {names[1]} have no hidden layer in common.", field="reference", remedy=remedy)
    return {module: ours[module] for module in sorted(common)}
