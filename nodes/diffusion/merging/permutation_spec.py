"""Hidden units of Stable Diffusion models that can be permuted without changing what the model computes. Needs no torch.

Only units between two layers of one module are permuted. The residual streams couple all of a model's layers, by skip
connections and norms over channels in a fixed order, and stay as they are; so does the time embedding.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from nodes.diffusion.families.protocol import Count
from nodes.diffusion.formats.model_folders import read_as
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.handles.adapters import ENCODER_FOLDERS
from nodes.diffusion.merging.lora_layers import Part


@dataclass(frozen=True)
class AxisUse:
    """A parameter whose rows (axis 0) or columns (axis 1) belong to units."""

    weight: str
    axis: int
    repeats: int = 1
    """The number of rows of each unit; the axis is so many full sets of units, one after another."""


@dataclass(frozen=True)
class Units:
    """Units that can be permuted inside their block, and blocks that can be permuted as wholes."""

    count: int
    blocks: int
    """Heads of an attention, groups of a group norm, otherwise one."""
    axis_groups: tuple[tuple[AxisUse, ...], ...]
    """Parameters that share one permutation; groups share that of the blocks, and have their own inside of each block."""


@dataclass(frozen=True)
class _Kind:
    """Modules of one kind, by the names of their layers."""

    module: str
    axis_groups: tuple[tuple[tuple[str, ...], str], ...]
    """For each group, the layers whose outputs are its units, and the layer that takes them as inputs."""
    others: tuple[str, ...] = ()
    """Layers that do not depend on the units."""
    repeats: int = 1
    blocks: str = ""
    """The kind of its blocks, `heads` or `groups`; empty for one block."""


KINDS = (
    _Kind(r"unet\..+\.ff", ((("net.0.proj",), "net.2"),), repeats=2),  # GEGLU: values, then gates
    _Kind(r"unet\..+\.attn[12]", ((("to_q", "to_k"), ""), (("to_v",), "to_out.0")), blocks="heads"),
    _Kind(
        r"(?:unet|vae)\..+\.resnets\.\d+",
        ((("conv1", "time_emb_proj", "norm2"), "conv2"),),
        others=("norm1", "conv_shortcut"),
        blocks="groups",
    ),
    _Kind(r"unet\.(?:time|add|class)_embedding", ((("linear_1",), "linear_2"),)),
    _Kind(r"vae\..+\.attentions\.\d+", ((("to_q", "to_k"), ""), (("to_v",), "to_out.0")), others=("group_norm",)),
    _Kind(r"text_encoder_\d\..+\.mlp", ((("fc1",), "fc2"),)),
    _Kind(r"text_encoder_\d\..+\.self_attn", ((("q_proj", "k_proj"), ""), (("v_proj",), "out_proj")), blocks="heads"),
)
OPTIONAL = ("time_emb_proj",)
"""Layers that some modules of a kind lack: a VAE has no time embedding."""
UP_OR_DOWN = re.compile(r"unet\.(up|down)_blocks\.(\d+)\.")


class _UNet(BaseModel):
    """Fields of unet/config.json; diffusers calls numbers of heads `attention_head_dim`, unless both are given."""

    attention_head_dim: Count | list[Count] = 8
    num_attention_heads: Count | list[Count] | None = None
    norm_num_groups: Count | None = 32
    down_block_types: list[str]

    def heads(self, name: str) -> int:
        """Return the heads of an attention."""
        heads = self.num_attention_heads or self.attention_head_dim
        by_block = heads if isinstance(heads, list) else [heads] * len(self.down_block_types)
        place = UP_OR_DOWN.match(name)
        if not place:
            return by_block[-1]
        return (by_block if place[1] == "down" else by_block[::-1])[int(place[2])]


class _VAE(BaseModel):
    norm_num_groups: Count = 32


class _TextEncoder(BaseModel):
    num_attention_heads: Count = 8


def units_in(parameters: Mapping[str, Part], place: Path) -> dict[str, Units]:
    """Return the hidden units of a model by their module; `place` is the folder or file that describes it.

    Modules with unknown parameters or unexpected shapes are skipped.
    """
    folder, found = described(place), dict[str, Units]()
    for kind in KINDS:
        for module, layers in sorted(_modules(kind, parameters).items()):
            if units := _units(kind, module, layers, parameters, folder):
                found[module] = units
    return found


def _modules(kind: _Kind, parameters: Mapping[str, Part]) -> dict[str, set[str]]:
    """Return the parameter names inside of each module of a kind."""
    pattern, modules = re.compile(f"({kind.module})\\.(.+)"), dict[str, set[str]]()
    for name in parameters:
        if match := pattern.fullmatch(name):
            modules.setdefault(match[1], set()).add(match[2])
    return modules


def _units(kind: _Kind, module: str, names: set[str], parameters: Mapping[str, Part], folder: Path) -> Units | None:
    makers = [layer for made, _ in kind.axis_groups for layer in made]
    takers = [taker for _, taker in kind.axis_groups if taker]
    known = {f"{layer}.{last}" for layer in (*makers, *takers, *kind.others) for last in ("weight", "bias")}
    needed = {f"{layer}.weight" for layer in (*makers, *takers) if layer not in OPTIONAL}
    if names - known or needed - names:
        return None
    axis_groups = tuple(tuple(_uses(kind, group, module, names)) for group in kind.axis_groups)
    count = parameters[f"{module}.{takers[0]}.weight"].shape[1]
    blocks = _blocks(kind, module, folder)
    sizes = [parameters[use.weight].shape[use.axis] == use.repeats * count for group in axis_groups for use in group]
    return Units(count, blocks, axis_groups) if blocks and count % blocks == 0 and all(sizes) else None


def _uses(kind: _Kind, group: tuple[tuple[str, ...], str], module: str, names: set[str]) -> Iterator[AxisUse]:
    makers, taker = group
    for layer in makers:
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in names:
                yield AxisUse(f"{module}.{name}", 0, kind.repeats)
    if taker:
        yield AxisUse(f"{module}.{taker}.weight", 1)


def _blocks(kind: _Kind, module: str, folder: Path) -> int:
    """Return how many blocks the units of a module are in; 0 where the model has no such thing."""
    part = module.partition(".")[0]
    if not kind.blocks:
        return 1
    config = folder / ENCODER_FOLDERS.get(part, part) / "config.json"
    if part == "unet":
        unet = read_as(config, _UNet)
        return unet.heads(module) if kind.blocks == "heads" else unet.norm_num_groups or 0
    return read_as(config, _TextEncoder).num_attention_heads if kind.blocks == "heads" else read_as(config, _VAE).norm_num_groups
