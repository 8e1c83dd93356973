"""Whether a merge can be carried out, told from headers alone; needs no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.merging.headers import Entry, Header, family_of
from nodes.diffusion.merging.layers import LayerChange, changes_of
from nodes.diffusion.merging.values import (
    Baked,
    Merged,
    Recipe,
    Source,
    baked_in,
    name_of,
    operations_in,
    parts_of,
    sources_of,
)
from nodes.diffusion.merging.views import VAES, header_of

Locate = Callable[[str], Path]
LATENT_CHANNELS = 4
INPUT_LAYERS = ("diffusion_model.input_blocks.0.0.weight", "unet.conv_in.weight")
SAME = "Merge checkpoints of one family in one layout: single files with single files, folders with folders."


@dataclass(frozen=True)
class Plan:
    """A recipe and the headers of all its sources, found to fit."""

    recipe: Recipe
    headers: Mapping[Source, Header]
    changes: Mapping[Baked, Mapping[str, tuple[LayerChange, ...]]]
    """What is baked into which tensors."""

    def entry(self, recipe: Recipe, name: str) -> Entry | None:
        """Return what says the tensor's shape in a part of the recipe: the entry of its first source."""
        return self.headers[next(sources_of(recipe))].get(name)

    @property
    def tensors(self) -> Header:
        """The tensors of the result, with the shapes that they will have."""
        return self.headers[next(sources_of(self.recipe))]

    def operation(self, recipe: Recipe, name: str) -> Merged | None:
        """Return what is to be done for one tensor, None where the first input's is copied.

        Copied are whole numbers, `position_ids`, and what any of the inputs lacks.
        """
        if not isinstance(recipe, Merged) or name.endswith("position_ids"):
            return None
        if recipe.method == "VAE" and not name.startswith(VAES):
            return None
        entries = [self.entry(part, name) for part in recipe.inputs]
        return recipe if all(entry and entry.is_float for entry in entries) else None

    def is_touched(self, name: str) -> bool:
        """Whether a tensor of the result may be another than the first file's own."""
        recipe = self.recipe
        while not isinstance(recipe, Source):
            if self.operation(recipe, name) or (isinstance(recipe, Baked) and name in self.changes[recipe]):
                return True
            recipe = parts_of(recipe)[0]
        return recipe.moving_average or self.headers[recipe][name].file in recipe.changes

    def left_alone(self) -> int:
        """Return how many tensors are the first input's because another input lacks them."""
        parts = [part for merge in operations_in(self.recipe) if merge.method != "VAE" for part in merge.inputs]
        return sum(any(self.entry(part, name) is None for part in parts) for name in self.tensors)


def planned(recipe: Recipe, locate: Locate) -> Plan:
    """Return the plan of a recipe; raise InputError naming what does not fit. No tensor is read."""
    headers = {source: header_of(source, locate(source.digest)) for source in sources_of(recipe)}
    changes = {baked: changes_of(baked, headers[next(sources_of(baked))]) for baked in baked_in(recipe)}
    plan = Plan(recipe, headers, changes)
    for merge in operations_in(recipe):
        first, *others = (next(sources_of(part)) for part in merge.inputs)
        for other in others:
            _check_vae(first, other, plan) if merge.method == "VAE" else _check_families(first, other, plan)
    _check_shapes(recipe, plan)
    return plan


def _check_families(first: Source, other: Source, plan: Plan) -> None:
    families = [family_of(plan.headers[source]) for source in (first, other)]
    if families[0] != families[1]:
        message = f"{first.name} is of the family {families[0]} and {other.name} of {families[1]}."
        raise InputError(message, field="models", remedy=SAME)
    if not plan.headers[first].keys() & plan.headers[other].keys():
        raise InputError(f"{first.name} and {other.name} have no tensor in common.", field="models", remedy=SAME)


def _check_vae(first: Source, donor: Source, plan: Plan) -> None:
    own = [name for name in plan.headers[first] if name.startswith(VAES)]
    lacking = [name for name in own if name not in plan.headers[donor]]
    if lacking or not own:
        which = f"{first.name} holds no VAE" if not own else f"{donor.name} holds no {lacking[0]}"
        raise InputError(f"{which}.", field="vae", remedy="Wire a checkpoint or a VAE file of the same architecture.")


def _check_shapes(recipe: Recipe, plan: Plan) -> None:
    for part in parts_of(recipe):
        _check_shapes(part, plan)
    for name in plan.headers[next(sources_of(recipe))]:
        if operation := plan.operation(recipe, name):
            _check_tensor(operation, name, plan)


def _check_tensor(recipe: Merged, name: str, plan: Plan) -> None:
    shapes = [entry.shape for part in recipe.inputs if (entry := plan.entry(part, name))]
    for part, shape in zip(recipe.inputs, shapes, strict=True):
        if shape != shapes[0] and not (name.endswith(INPUT_LAYERS) and _is_first_channels(shape, shapes[0])):
            message = f"{name} is {list(shapes[0])} in {name_of(recipe.inputs[0])} and {list(shape)} in {name_of(part)}."
            more = name.endswith(INPUT_LAYERS) and _is_first_channels(shapes[0], shape)
            remedy = "Wire the inpainting or pix2pix model first: its further channels are kept." if more else SAME
            raise InputError(message, field="models", remedy=remedy)


def _is_first_channels(few: tuple[int, ...], many: tuple[int, ...]) -> bool:
    """Whether a UNet takes only the latents [out, 4, h, w] of what another takes, as for inpainting (9) or pix2pix (8)."""
    return len(few) == len(many) == 4 and few == (many[0], LATENT_CHANNELS, *many[2:]) and many[1] in (8, 9)
