"""Spellings of layer names in files of other programs: kohya, LyCORIS, diffusers, PEFT, ComfyUI, Stability."""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator

from nodes.diffusion.families.protocol import Counterpart, LoraKind

PLACE = re.compile(r"((?:(?:down|up)_blocks\.\d+|mid_block)\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+)\.(.+)")
OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
WITHIN_RESNETS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
MIDDLE = {"mid_block.resnets.0": "0", "mid_block.attentions.0": "1", "mid_block.resnets.1": "2"}
UNET = ("lora_unet", "lycoris", "unet", "base_model_model", "base_model_model_unet", "")
STABILITY_UNET = ("lora_unet", "lycoris", "diffusion_model", "model_diffusion_model", "unet", "")
ENCODERS = (
    (
        "lora_te", "lora_te1", "text_encoder", "base_model_model", "clip_l", "clip_h",
        "text_encoders.clip_l.transformer", "text_encoders.clip_h.transformer",
        "cond_stage_model.transformer", "conditioner.embedders.0.transformer",
    ),
    ("lora_te2", "text_encoder_2", "clip_g", "text_encoders.clip_g.transformer"),
)  # fmt: skip
KINDS: dict[LoraKind, tuple[str, ...]] = {
    "attention": (".to_q", ".to_k", ".to_v", ".to_out.0"),
    "feed-forward": (".ff.net.0.proj", ".ff.net.2", ".proj_in", ".proj_out"),
    "convolution": (".conv1", ".conv2", ".downsamplers.0.conv", ".upsamplers.0.conv"),
}
TEXT_KINDS: dict[LoraKind, tuple[str, ...]] = {
    "attention": (".q_proj", ".k_proj", ".v_proj", ".out_proj"),
    "feed-forward": (".fc1", ".fc2"),
}
OLD_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out", "to_out.0": "to_out"}
"""Endings of names in files of diffusers' first years."""


def kind_of(layer: str) -> LoraKind | None:
    """Return what a layer does, by its name with its part's; None for those that LoRAs leave out."""
    kinds = KINDS if layer.startswith("unet.") else TEXT_KINDS
    return next((kind for kind, endings in kinds.items() if layer.endswith(endings)), None)


def finder(layers: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Return the function from a name in a LoRA file to the layer that it spells, () for none of `layers`."""
    known = {spelled: (layer,) for spelled, layer in spellings(layers).items()}
    return lambda spelled: known.get(_plain(spelled), ())


def kohya_namer(unet_layers: Collection[str], *, sdxl: bool) -> Callable[[str], Counterpart]:
    """Return the function from a layer to kohya's name of it.

    For SDXL it uses Stability's names of the UNet's layers, which follow from all of them, and counts text encoders. Names of
    text encoders always hold `text_model_`, as those programs expect, however the encoder is nested here.
    """
    stability = stability_names(unet_layers) if sdxl else {}

    def named(full: str) -> Counterpart:
        part, _, layer = full.partition(".")
        if part == "unet":
            return Counterpart(f"lora_unet_{stability.get(layer, layer)}".replace(".", "_"))
        encoder = f"lora_te{int(part[-1]) + 1}" if sdxl else "lora_te"
        return Counterpart(f"{encoder}_text_model_{layer}".replace(".", "_"))

    return named


def _plain(name: str) -> str:
    """A layer's name as `spellings` has it: with underscores, without the processors of old diffusers files."""
    return name.replace(".processor", "").replace(".", "_")


def spellings(layers: Iterable[str]) -> dict[str, str]:
    """Return our name of a layer, such as `unet.conv_in`, by every plain spelling of it."""
    known: dict[str, str] = {}
    parts: dict[str, list[str]] = {}
    for layer in layers:
        part, _, name = layer.partition(".")
        parts.setdefault(part, []).append(name)
    for part, names in parts.items():
        for prefix, spelled, name in _unet(names) if part == "unet" else _encoder(names, int(part[-1])):
            known[_plain(f"{prefix}.{spelled}" if prefix else spelled)] = f"{part}.{name}"
    return known


def _unet(names: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(Prefix, spelling, name) of every layer."""
    stability = stability_names(names)
    for name in names:
        yield from ((prefix, spelled, name) for spelled in {name, _old(name)} for prefix in UNET)
        if name in stability:
            yield from ((prefix, stability[name], name) for prefix in STABILITY_UNET)


def _encoder(names: Collection[str], number: int) -> Iterator[tuple[str, str, str]]:
    for name in names:
        for spelled in {name, _old(name)}:
            for prefix in ENCODERS[number]:
                yield prefix, spelled, name
                yield prefix, f"text_model.{spelled}", name


def _old(name: str) -> str:
    ending = next((ending for ending in OLD_ATTENTION if name.endswith(f".{ending}")), None)
    return name.removesuffix(ending) + OLD_ATTENTION[ending] if ending else name


def stability_names(names: Collection[str]) -> dict[str, str]:
    """Return the names that a UNet's layers have in Stability's layout (`input_blocks.4.1...`), from its structure."""
    split = {name: match.groups() for name in names if (match := PLACE.fullmatch(name))}
    places = _places({place for place, _ in split.values()})
    found = {name: OUTSIDE_BLOCKS[name] for name in names if name in OUTSIDE_BLOCKS}
    for name, (place, inner) in split.items():
        if ".downsamplers." in place:
            inner = "op"
        found[name] = f"{places[place]}.{WITHIN_RESNETS.get(inner, inner)}"
    return found


def _places(present: Collection[str]) -> dict[str, str]:
    """Stability's places of resnets, attentions and samplers: down and up they are counted through all blocks."""
    found = {place: f"middle_block.{number}" for place, number in MIDDLE.items()}
    for side, blocks, number in (("down_blocks", "input_blocks", 1), ("up_blocks", "output_blocks", 0)):
        for block in _counted(f"{side}.{{}}.resnets.0", present):
            within = 1
            for layer in _counted(f"{side}.{block}.resnets.{{}}", present):
                found[f"{side}.{block}.resnets.{layer}"] = f"{blocks}.{number}.0"
                found[f"{side}.{block}.attentions.{layer}"] = f"{blocks}.{number}.1"
                within = 2 if f"{side}.{block}.attentions.{layer}" in present else 1
                number += 1
            if f"{side}.{block}.downsamplers.0" in present:
                found[f"{side}.{block}.downsamplers.0"] = f"{blocks}.{number}.0"
                number += 1
            found[f"{side}.{block}.upsamplers.0"] = f"{blocks}.{number - 1}.{within}"
    return found


def _counted(template: str, present: Collection[str]) -> Iterator[int]:
    """The numbers, from 0, whose place is there."""
    return itertools.takewhile(lambda number: template.format(number) in present, itertools.count())
