"""Plans of merges, checked from headers alone; needs no torch."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import latent_channels_at
from nodes.diffusion.formats.checkpoint_headers import Entry, Header, family_of, read_file_header
from nodes.diffusion.handles.recipes import (
    Baked,
    Merged,
    Permuted,
    Pruned,
    Recipe,
    Source,
    baked_in,
    name_of,
    operations_in,
    parts_of,
    permuted_in,
    sources_of,
)
from nodes.diffusion.merging.blocks import block_finder
from nodes.diffusion.merging.lora_layers import LayerChange, changes_of
from nodes.diffusion.merging.source_tensors import PREFIXES, VAES, header_of, is_part
from nodes.diffusion.merging.text_encoder_names import spelled_alike

Locate = Callable[[str], Path]
SAME_VAE = "Wire a checkpoint or a VAE file of the same architecture."
SAME = "Merge checkpoints of one family in one layout: single files with single files, folders with folders."


@dataclass(frozen=True)
class MergePlan:
    """A recipe and the headers of all its sources, checked to be compatible."""

    recipe: Recipe
    headers: Mapping[Source, Header]
    changes: Mapping[Baked, Mapping[str, tuple[LayerChange, ...]]]
    """The changes baked into each tensor."""
    orders: Mapping[Permuted, Header]
    """Headers of the files with the orders of rows and columns."""
    _known: dict[int, tuple[Recipe, Header]] = field(default_factory=dict[int, tuple[Recipe, Header]], init=False, repr=False)
    """Tensors of parts of the recipe by the part's `id`, since hashing a part, which is a tree, takes long."""

    def entry(self, recipe: Recipe, name: str) -> Entry | None:
        """Return the header entry with the tensor's shape in a part of the recipe; None if it is missing."""
        return self.tensors_of(recipe).get(name)

    def holder(self, recipe: Recipe, name: str) -> Recipe:
        """Return the input that an operation takes a tensor from: the first one that has it."""
        return next(part for part in parts_of(recipe) if name in self.tensors_of(part))

    @cached_property
    def tensors(self) -> Header:
        """Return the tensors of the result with their shapes."""
        return self.tensors_of(self.recipe)

    @cached_property
    def block_of(self) -> Callable[[str], str]:
        """Return the function from a tensor of the result to its block."""
        return block_finder(self.tensors)

    def tensors_of(self, recipe: Recipe) -> Header:
        """Return the tensors of a part of the recipe."""
        if id(recipe) not in self._known:
            self._known[id(recipe)] = (recipe, self._found(recipe))
        return self._known[id(recipe)][1]

    def _found(self, recipe: Recipe) -> Header:
        if isinstance(recipe, Source):
            return self.headers[recipe]
        first, *others = map(self.tensors_of, parts_of(recipe))
        if isinstance(recipe, Pruned):
            return {name: entry for name, entry in first.items() if is_part(name, recipe.parts)}
        if isinstance(recipe, Merged) and recipe.method == "VAE":
            return first
        # only tensors of a model's parts are taken from other inputs, not those that trainers add
        found, parts = dict(first), tuple(PREFIXES)
        for header in others:
            found |= {name: entry for name, entry in header.items() if name not in found and is_part(name, parts)}
        return found

    def operation(self, recipe: Recipe, name: str) -> Merged | None:
        """Return the operation for one tensor; None where it is copied from its holder.

        Whole numbers, `position_ids`, and tensors that an input lacks are copied.
        """
        if not isinstance(recipe, Merged) or name.endswith("position_ids"):
            return None
        if recipe.method == "VAE" and not name.startswith(VAES):
            return None
        entries = [self.entry(part, name) for part in recipe.inputs]
        return recipe if all(entry and entry.is_float for entry in entries) else None

    def is_touched(self, name: str) -> bool:
        """Return whether a tensor of the result may differ from that of the first file."""
        recipe = self.recipe
        while not isinstance(recipe, Source):
            if self.operation(recipe, name) or self.takes_whole_rows(recipe, name):
                return True
            if self.holder(recipe, name) is not parts_of(recipe)[0]:
                return True
            recipe = parts_of(recipe)[0]
        return recipe.moving_average or self.headers[recipe][name].file in recipe.changes

    def takes_whole_rows(self, recipe: Recipe, name: str) -> bool:
        """Return whether LoRAs are added to a tensor here, or its rows or columns are permuted."""
        if isinstance(recipe, Permuted):
            return not self.orders[recipe].keys().isdisjoint((f"rows.{name}", f"columns.{name}"))
        return isinstance(recipe, Baked) and name in self.changes[recipe]

    def left_alone(self) -> int:
        """Return the number of tensors copied from the first input because another input lacks them."""
        parts = [part for merge in operations_in(self.recipe) if merge.method != "VAE" for part in merge.inputs]
        return sum(any(self.entry(part, name) is None for part in parts) for name in self.tensors)

    def taken_over(self) -> Counter[str]:
        """Return the number of tensors of each part that the first input of a merge lacks and others have."""
        found: Counter[str] = Counter()
        for merge in operations_in(self.recipe):
            if merge.method != "VAE":
                own = self.tensors_of(merge.inputs[0])
                lacking = [name for name, entry in self.tensors_of(merge).items() if name not in own and entry.is_float]
                found.update(part for name in lacking for part in PREFIXES if is_part(name, (part,)))
        return found


def planned(recipe: Recipe, locate: Locate, sockets: tuple[str, ...] = ()) -> MergePlan:
    """Return the plan of a recipe; raise InputError for incompatible inputs. No tensor is read.

    `sockets` are those of the node that takes the last step, one for each input; without them all inputs are in `models`.
    """
    headers, orders = spelled_alike(
        {source: header_of(source, locate(source.digest)) for source in sources_of(recipe)},
        {permuted: read_file_header(permuted.orders) for permuted in permuted_in(recipe)},
    )
    changes = {baked: changes_of(baked, headers[next(sources_of(baked))]) for baked in baked_in(recipe)}
    plan = MergePlan(recipe, headers, changes, orders)
    for merge in operations_in(recipe):
        for other, socket in list(zip(merge.inputs, _sockets(merge, sockets if merge is recipe else ()), strict=True))[1:]:
            if merge.method == "VAE":
                _check_vae(merge.inputs[0], other, plan)
            else:
                _check_families(merge.inputs[0], other, plan, socket)
    _check_shapes(recipe, plan, sockets)
    return plan


def _sockets(merge: Merged, sockets: tuple[str, ...]) -> tuple[str, ...]:
    return sockets or ("models",) * len(merge.inputs)


def _check_families(first: Recipe, other: Recipe, plan: MergePlan, socket: str) -> None:
    names = [next(sources_of(recipe)).name for recipe in (first, other)]
    families = [family_of(plan.headers[next(sources_of(recipe))]) for recipe in (first, other)]
    if families[0] != families[1]:
        raise of_two_families((names[0], families[0]), (names[1], families[1]), socket)
    if not plan.tensors_of(first).keys() & plan.tensors_of(other).keys():
        raise InputError(f"{names[0]} and {names[1]} have no tensor in common.", field=socket, remedy=SAME)


def of_two_families(first: tuple[str, str], other: tuple[str, str], socket: str) -> InputError:
    """Return the error of a merge of two checkpoints, given by name and family, of which `other` is wired to `socket`."""
    message = f"{first[0]} is of the family {first[1]} and {other[0]} of {other[1]}."
    return InputError(message, field=socket, remedy=SAME)


def _check_vae(first: Recipe, donor: Recipe, plan: MergePlan) -> None:
    own = [name for name in plan.tensors_of(first) if name.startswith(VAES)]
    lacking = [name for name in own if plan.entry(donor, name) is None]
    if not own:
        message = f"{name_of(first)} holds no VAE."
        raise InputError(message, field="checkpoint", remedy="Wire a checkpoint that has one, which is then replaced.")
    if lacking:
        message = f"{name_of(donor)} holds no {lacking[0]}."
        raise InputError(message, field="vae", remedy=SAME_VAE)


def _check_shapes(recipe: Recipe, plan: MergePlan, sockets: tuple[str, ...]) -> None:
    for part in parts_of(recipe):
        _check_shapes(part, plan, ())
    for name in plan.tensors_of(recipe):
        if operation := plan.operation(recipe, name):
            _check_tensor(operation, name, plan, _sockets(operation, sockets))


def _check_tensor(recipe: Merged, name: str, plan: MergePlan, sockets: tuple[str, ...]) -> None:
    shapes = [entry.shape for part in recipe.inputs if (entry := plan.entry(part, name))]
    for part, shape, socket in zip(recipe.inputs, shapes, sockets, strict=True):
        latents = latent_channels_at(name)
        if shape != shapes[0] and not (latents and _is_first_channels(latents, shape, shapes[0])):
            message = f"{name} is {list(shapes[0])} in {name_of(recipe.inputs[0])} and {list(shape)} in {name_of(part)}."
            more = latents and _is_first_channels(latents, shapes[0], shape)
            remedy = "Wire the inpainting or pix2pix model first: its further channels are kept." if more else SAME
            raise InputError(message, field=socket, remedy=SAME_VAE if recipe.method == "VAE" else remedy)


def _is_first_channels(latents: int, few: tuple[int, ...], many: tuple[int, ...]) -> bool:
    """Return whether only the latents [out, c, h, w] of another UNet's input go in: 2 c + 1 for inpainting, 2 c for pix2pix."""
    return len(few) == len(many) == 4 and few == (many[0], latents, *many[2:]) and many[1] in (2 * latents, 2 * latents + 1)
