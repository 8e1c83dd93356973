"""The layers of a checkpoint by LoRAs' names, and the rows of its tensors that a LoRA changes; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from nodes.diffusion.families.protocol import Counterpart, Rows, denoiser_folder
from nodes.diffusion.families.registry import part_name
from nodes.diffusion.families.tensor_names.clip import SHELL
from nodes.diffusion.formats.checkpoint_headers import Entry, Header, facts_of, read_file_header
from nodes.diffusion.handles.adapters import LowRankAdapter, leaf_of
from nodes.diffusion.handles.recipes import Baked

NO_LAYERS = ("token_embedding.weight", "position_embedding.weight", "text_projection.weight")
"""Matrices of text encoders that no LoRA changes."""


@dataclass(frozen=True)
class Part:
    """The location of a layer's parameter: all of a tensor, or some of its rows."""

    name: str
    """The tensor's name in the checkpoint."""
    first: int
    """The first row."""
    shape: tuple[int, ...]
    """The parameter's shape."""


def parameters_in(header: Header) -> dict[str, Part]:
    """Return weights and biases of UNet and text encoders, `unet.NAME.weight`, `text_encoder_0.NAME.bias`."""
    return {name: part for name, part in all_parameters_in(header).items() if not name.startswith("vae.")}


def all_parameters_in(header: Header) -> dict[str, Part]:
    """Return the same with those of the VAE, whose attention may be 1x1 convolutions."""
    if (family := facts_of(header)) is None:
        return {}
    folders, denoiser = {part.folder for part in family.parts}, f"{denoiser_folder(family)}."
    folder = any(name.startswith(denoiser) for name in header)
    names = family.tensor_names(header)
    found: dict[str, Part] = {}
    for name, entry in header.items():
        for own in (Counterpart(name),) if folder else names.to_folder(name):
            part, _, inner = own.name.partition(".")
            if entry.is_float and part in folders and own.conversion not in ("transposed", "swapped"):
                found[f"{part_name(family.name, part)}.{inner.removeprefix(SHELL)}"] = _part(name, own, entry)
    return found


def _part(name: str, own: Counterpart, entry: Entry) -> Part:
    if not isinstance(own.conversion, Rows):
        return Part(name, 0, entry.shape)
    rows = own.conversion.of(entry.shape[0])
    return Part(name, rows.start, (len(rows), *entry.shape[1:]))


def layers_in(header: Header) -> dict[str, Part]:
    """Return the weights of all linear and convolutional layers by the layer's name, such as `unet.conv_in`."""
    return {
        name.removesuffix(".weight"): part
        for name, part in parameters_in(header).items()
        if name.endswith(".weight") and len(part.shape) in (2, 4) and not name.endswith(NO_LAYERS)
    }


def changeable_in(header: Header) -> dict[str, Part]:
    """Return the weights of all layers that a LoRA may change: linear, convolutional, and norms."""
    norms = {
        name.removesuffix(".weight"): part
        for name, part in parameters_in(header).items()
        if name.endswith(".weight") and len(part.shape) == 1
    }
    return layers_in(header) | norms


@dataclass(frozen=True)
class LayerChange:
    """The change that one LoRA makes to one parameter."""

    part: Part
    lora: LowRankAdapter
    strength: float
    leaves: Mapping[str, Entry]
    """The layer's tensors, by leaf."""
    bias: bool = False

    @property
    def width(self) -> int:
        """Return the numbers in a row."""
        return prod(self.part.shape[1:])


def changes_of(baked: Baked, header: Header) -> dict[str, tuple[LayerChange, ...]]:
    """Return the changes of LoRAs by tensor of the checkpoint; layers that it lacks are skipped."""
    parameters, weights = parameters_in(header), changeable_in(header)
    found: dict[str, tuple[LayerChange, ...]] = {}
    for lora in baked.loras:
        for layer, leaves in layers_of(lora).items():
            strength = lora.strength_on(layer.partition(".")[0])
            places = {False: weights.get(layer), True: parameters.get(f"{layer}.bias") if "diff_b" in leaves else None}
            for bias, part in places.items():
                if part and strength:
                    found[part.name] = (*found.get(part.name, ()), LayerChange(part, lora, strength, leaves, bias))
    return found


def layers_of(lora: LowRankAdapter) -> dict[str, dict[str, Entry]]:
    """Return the file entries of a trained LoRA's tensors by layer, sorted, then by leaf."""
    assert lora.weights is not None
    layers: dict[str, dict[str, Entry]] = {}
    for name, entry in sorted(read_file_header(lora.weights).items()):
        layer, leaf = leaf_of(name)
        layers.setdefault(layer, {})[leaf] = entry
    return layers
