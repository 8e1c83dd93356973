"""The result of a merge as weights that replace a model's own: `unet.NAME`, `vae.NAME`, `text_encoder_0.NAME`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import CLIPTextConfig

from nodes.diffusion.adapters.lora.targets import empty_text_encoders
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Counterpart, denoiser_folder
from nodes.diffusion.families.registry import facts as family_facts, part_name
from nodes.diffusion.families.tensor_names.clip import SHELL
from nodes.diffusion.formats.checkpoint_headers import Header
from nodes.diffusion.formats.clip_folders import has_text_projection
from nodes.diffusion.formats.model_folders import info_of, read_config
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.formats.single_file.tensors import shape_in_folder, to_folder
from nodes.diffusion.handles.adapters import ENCODERS
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.merging.evaluate import values_of
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import reading
from nodes.diffusion.merging.write_checkpoint import written_as
from nodes.diffusion.models.empty_denoiser import empty_denoiser
from nodes.diffusion.models.parts import class_of


def parameter_shapes(model: DiffusionModel, place: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a model, by its name as a weight; no weights are read."""
    folder = described(place)
    with init_empty_weights():
        part = next(part for part in family_facts(model.family).parts if part.kind == "VAE")
        vae = class_of(part).from_config(read_config(folder / part.folder / "config.json"))
    parts = {"unet": empty_denoiser(folder, model.family), "vae": vae, **empty_text_encoders(folder, info_of(model, place))}
    found = {
        f"{part}.{name.removeprefix(SHELL)}": tuple(parameter.shape)
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
    }
    for part, encoder in ENCODERS.items():
        if has_text_projection(folder / part):
            config = CLIPTextConfig(**read_config(folder / part / "config.json"))
            found[f"{encoder}.text_projection.weight"] = (config.projection_dim, config.hidden_size)
    return found


def weights_in(header: Header, family: str) -> dict[str, tuple[str, Counterpart]]:
    """Return each weight's tensor in the checkpoint, and the folder's tensor that it is converted to."""
    denoiser = f"{denoiser_folder(family_facts(family))}."
    folder, names = any(name.startswith(denoiser) for name in header), family_facts(family).tensor_names(header)
    found: dict[str, tuple[str, Counterpart]] = {}
    for name, entry in header.items():
        for own in (Counterpart(name),) if folder else names.to_folder(name):
            part, _, inner = own.name.partition(".")
            if entry.is_float:
                found[f"{part_name(family, part)}.{inner.removeprefix(SHELL)}"] = (name, own)
    return found


def check_shapes(header: Header, found: dict[str, tuple[str, Counterpart]], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise InputError for a weight of another shape than the model's."""
    for weight, (name, own) in found.items():
        theirs = shape_in_folder(header[name].shape, own.conversion)
        if weight in shapes and theirs != shapes[weight]:
            message = f"{weight} is {list(theirs)} in the checkpoint and {list(shapes[weight])} in the model."
            raise InputError(message, field="model", remedy="Wire the model that the first checkpoint is.")


def weights_of(
    plan: MergePlan, wanted: dict[str, tuple[str, Counterpart]], progress: Callable[[int, int], None]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the wanted weights of the result, float32, one at a time; raise InputError where one is not finite."""
    with reading() as reader:
        for done, (weight, (name, own)) in enumerate(sorted(wanted.items())):
            progress(done, len(wanted))
            values = written_as(torch.float32, values_of(plan, reader, name), name, plan, reader)
            yield weight, to_folder(values, own.conversion)
