"""Reading LoRA files of other programs into unscaled tensors for `weight_change`."""

import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import Leaves, rank_of
from nodes.diffusion.adapters.lora.apply import Layers
from nodes.diffusion.adapters.lora.fused import split_rows, without_others
from nodes.diffusion.adapters.lora.layer_tensors import complete, kinds_of
from nodes.diffusion.adapters.lora.scales import PeftConfig, stated_scale
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import denoiser_folder
from nodes.diffusion.families.registry import facts
from nodes.diffusion.handles.adapters import Algorithm

LEAF = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"(?P<down>lora_down|lora\.down|lora_linear_layer\.down|lora_A(?:\.\w+)?)\.weight|"
    r"(?P<up>lora_up|lora\.up|lora_linear_layer\.up|lora_B(?:\.\w+)?)\.weight|"
    r"(?P<middle>lora_mid)\.weight|"
    r"(?P<magnitude>lora_magnitude_vector(?:\.\w+)*)|"
    r"(?P<other>alpha|dora_scale|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|diff|diff_b|w_norm|b_norm|"
    r"[ab][12]\.weight|on_input|set_weight))"
)
OURS = {"down": "lora_A.weight", "up": "lora_B.weight", "middle": "lora_mid", "magnitude": "lora_magnitude_vector"}
NORMS = {"w_norm": "diff", "b_norm": "diff_b"}
"""LyCORIS' names of a norm's changes."""
OTHER_KINDS = {"oft_": "OFT", "ia3_": "(IA)3 of PEFT", "vera_": "VeRA", "bm.weight": "GLoRA with a middle matrix"}
"""Unsupported adapters by a part of their tensors' names."""
ADDED = {"diff", "diff_b"}
BUNDLE = "bundle_emb."
READ = "Read are LoRA, LoCon, LoHa, LoKr, DoRA, GLoRA, LyCORIS' (IA)3 and changes of norms."
OTHERS = "LoadModel opens whole models, LoadEmbedding embeddings, LoadHypernetwork hypernetworks."
ANOTHER = "Choose a LoRA that was trained on a model of this family."


@dataclass(frozen=True)
class LoraFile:
    """The content of a file: each layer's tensors by our leaves, complete and unscaled, and the names of unknown tensors."""

    layers: Layers
    scales: dict[str, float]
    """The scale of each layer's product."""
    unknown: tuple[str, ...]
    bundled: dict[str, Tensor]
    """Tensors of bundled words, by their names after `bundle_emb.`."""

    @cached_property
    def scale(self) -> float:
        """Return the scale of most layers; 0 only if all have it."""
        counts = Counter(scale for layer, scale in self.scales.items() if scale and rank_of(self.layers[layer]))
        return counts.most_common(1)[0][0] if counts else 0.0 if 0.0 in self.scales.values() else 1.0

    def tensors_of(self, layer: str) -> dict[str, Tensor]:
        """Return a layer's tensors, with alpha if its scale differs from `scale`."""
        leaves, scale = self.layers[layer], self.scales[layer]
        rank = rank_of(leaves)
        return leaves if not rank or scale == self.scale else {**leaves, "alpha": torch.tensor(scale * rank)}

    @property
    def rank(self) -> int:
        """Return the largest rank of all layers, at least 1."""
        return max([1, *(rank_of(leaves) for leaves in self.layers.values())])

    @property
    def idle(self) -> list[str]:
        """Return the layers without a change: alpha, or one of the factors, is 0."""
        return [layer for layer, leaves in self.layers.items() if _is_idle(leaves, self.scales[layer])]

    @property
    def algorithm(self) -> Algorithm:
        """Return the algorithm of the tensors; the first one of a mixed file."""
        leaves = {leaf for found in self.layers.values() for leaf in found}
        wide = any(found["lora_A.weight"].shape[2:] > (1, 1) for found in self.layers.values() if "lora_A.weight" in found)
        if "dora_scale" in leaves:
            return "dora"
        if "hada_w1_a" in leaves:
            return "loha"
        if any(leaf.startswith("lokr") for leaf in leaves):
            return "lokr"
        return "locon" if wide or "diff" in leaves else "lora"


def _is_idle(leaves: Leaves, scale: float) -> bool:
    if leaves.keys() & {"dora_scale", "set_weight"} or any(leaves[leaf].any() for leaf in ADDED if leaf in leaves):
        return False
    factors = leaves.keys() - ADDED
    products = [("a1.weight", "a2.weight"), ("b1.weight", "b2.weight")] if "b1.weight" in factors else [tuple(factors)]
    return not scale or not any(names and all(leaves[name].any() for name in names) for names in products)


def read_lora(path: Path, shapes: Mapping[str, torch.Size], family: str, config: Path | None = None) -> LoraFile:
    """Read a safetensors file for a model whose layers have these weights; `config` is PEFT's own, from beside the file.

    Raises InputError when the file is damaged, for another family, or holds nothing for this model.
    """
    with _opened(path) as file:
        found, unknown, bundled, split = _sorted(file, facts(family).lora_layer_finder(shapes), shapes)
        metadata = file.metadata() or {}
    if not found:
        raise _nothing_in(path.name, unknown)
    stated = PeftConfig.by_part(path.name, metadata.get("lora_adapter_metadata"), config, denoiser_folder(facts(family)))
    layers, scales = Layers(), dict[str, float]()
    for layer, leaves in found.items():
        if leaves.get("lora_A.weight", torch.ones(1)).shape[:1] == (0,):  # resized to rank 0
            continue
        try:
            made, scales[layer] = _layer(layer, leaves, shapes[layer], stated)
            layers[layer] = without_others(made) if layer in split else made
        except KeyError as error:
            message = f"{path.name} is incomplete: {layer} has no {error.args[0]}."
            raise InputError(message, field="file", remedy="Copy or download it again.") from None
        except (RuntimeError, IndexError):  # torch's errors for incompatible shapes
            if layer == "unet.conv_in" and len(found) > 1:  # inpainting models have more input channels
                unknown.append(layer)
                continue
            message = f"what {path.name} holds for {layer} does not fit this model's {list(shapes[layer])}."
            raise InputError(message, field="file", remedy=ANOTHER) from None
        _check_numbers(path.name, layer, layers[layer], scales[layer])
    return LoraFile(layers, scales, tuple(unknown), bundled)


def _sorted(
    file: Any, layers_of: Callable[[str], tuple[str, ...]], shapes: Mapping[str, torch.Size]
) -> tuple[Layers, list[str], dict[str, Tensor], set[str]]:
    """Return a file's tensors by layer and leaf, the names that belong to no layer, the tensors of words, and split layers."""
    keys = list(file.keys())
    vectors = {key.removesuffix("on_input") + "weight" for key in keys if key.endswith(".on_input")}
    found, unknown, bundled, split = Layers(), list[str](), dict[str, Tensor](), set[str]()
    for key in keys:
        if key.startswith(BUNDLE):
            bundled[key.removeprefix(BUNDLE)] = file.get_tensor(key)
            continue
        spelled, leaf = (key.removesuffix(".weight"), "ia3") if key in vectors else _leaf(key)
        layers = layers_of(spelled) if leaf else ()
        if not layers:
            unknown.append(key)
            continue
        if len(layers) > 1:
            split.update(layers)
        parts = split_rows(key, leaf, file.get_tensor(key).float(), [shapes[layer][0] for layer in layers])
        for layer, tensor in zip(layers, parts, strict=True):
            found.setdefault(layer, {})[leaf] = tensor
    return {layer: leaves for layer, leaves in found.items() if leaves.keys() - {"alpha"}}, unknown, bundled, split


def _leaf(key: str) -> tuple[str, str]:
    """Return a layer's name in the file, and our leaf; an empty leaf for other tensors."""
    if not (match := LEAF.fullmatch(key)):
        return key, ""
    return match["layer"], NORMS.get(match["other"], match["other"]) or OURS[str(match.lastgroup)]


def _layer(layer: str, leaves: Leaves, shape: torch.Size, stated: Mapping[str, PeftConfig]) -> tuple[dict[str, Tensor], float]:
    """Return a layer's complete tensors and its scale; that of whole factors is multiplied into one of them."""
    made = complete(leaves, shape)
    rank, scale = rank_of(made), stated_scale(layer, made, leaves.get("alpha"), stated)
    if not rank and "lokr_w1" in made:
        return {**made, "lokr_w1": made["lokr_w1"] * scale}, 1.0
    return made, scale if rank else 1.0


def _check_numbers(name: str, layer: str, leaves: Leaves, scale: float) -> None:
    kinds = kinds_of(leaves)
    if len(kinds) > 1:
        message = f"{name} holds both {kinds[0]} and {kinds[1]} for {layer}, which this program cannot add up."
        raise InputError(message, field="file", remedy="Merge them into one with the program that wrote it.")
    if not math.isfinite(scale) or not all(tensor.isfinite().all() for tensor in leaves.values()):
        message = f"{name} holds numbers for {layer} that are not finite."
        raise InputError(message, field="file", remedy="Choose another file, or save it again as fp32.")


def _nothing_in(name: str, unknown: Sequence[str]) -> InputError:
    """Return the error for a file that changes no layer of the model."""
    which = f", such as {unknown[0][:100]}" if unknown else ""
    if not unknown or any((match := LEAF.fullmatch(tensor)) and match["other"] != "alpha" for tensor in unknown):
        return InputError(f"{name} holds nothing for a layer of this model{which}.", field="file", remedy=ANOTHER)
    for mark, kind in OTHER_KINDS.items():
        if any(mark in tensor for tensor in unknown):
            return InputError(f"{name} holds {kind}{which}.", field="file", remedy=READ)
    return InputError(f"{name} holds no LoRA, but tensors{which}.", field="file", remedy=OTHERS)


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError):
        message = f"{path.name} cannot be read as safetensors: it is damaged, cut off, or of another kind."
        remedy = "Choose a .safetensors file; old .pt and .ckpt files can carry code and are not opened."
        raise InputError(message, field="file", remedy=remedy) from None
