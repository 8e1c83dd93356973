"""Reading LoRA files of other programs: whatever is in them becomes tensors that `weight_change` takes, unscaled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nodes.diffusion.adapters import Algorithm
from nodes.diffusion.errors import InputError
from nodes.diffusion.lora import Layers
from nodes.diffusion.lora_deltas import Leaves, fits, rank_of
from nodes.diffusion.lora_scales import PeftConfig, stated_scale
from nodes.diffusion.lora_spellings import plain, spellings

LEAF = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"(?P<down>lora_down|lora\.down|lora_linear_layer\.down|lora_A(?:\.\w+)?)\.weight|"
    r"(?P<up>lora_up|lora\.up|lora_linear_layer\.up|lora_B(?:\.\w+)?)\.weight|"
    r"(?P<middle>lora_mid)\.weight|"
    r"(?P<magnitude>lora_magnitude_vector(?:\.\w+)*)|"
    r"(?P<other>alpha|dora_scale|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|diff|diff_b))"
)
OURS = {"down": "lora_A.weight", "up": "lora_B.weight", "middle": "lora_mid", "magnitude": "lora_magnitude_vector"}
TUCKER = (("hada_w1", "hada_t1"), ("hada_w2", "hada_t2"), ("lokr_w2", "lokr_t2"))
"""Pairs [rank, out] and [rank, in] with a middle [rank, rank, kernel] between them."""
SCALED = ("lora_B.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""The factor of each product that takes up alpha / rank."""
OTHER_KINDS = {"oft_": "OFT", "ia3_": "(IA)3", ".on_input": "(IA)3", "vera_": "VeRA", "w_norm": "changes of norms alone"}
"""Adapters that are none of ours, by a part of their tensors' names."""
OTHERS = "LoadModel opens whole models, LoadEmbedding embeddings, LoadHypernetwork hypernetworks."
ANOTHER = "Choose a LoRA that was trained on a model of this family."


@dataclass(frozen=True)
class LoraFile:
    """What was read: each layer's tensors by our leaves, complete and unscaled, and the names that were passed over."""

    layers: Layers
    unknown: tuple[str, ...]

    @property
    def rank(self) -> int:
        """The largest rank of all layers, at least 1."""
        return max([1, *(rank_of(leaves) for leaves in self.layers.values())])

    @property
    def idle(self) -> list[str]:
        """The layers that stay as they are: alpha, or one of the factors, is 0."""
        return [layer for layer, leaves in self.layers.items() if _is_idle(leaves)]

    @property
    def algorithm(self) -> Algorithm:
        """Whose tensors these are; of a file that mixes several, the first of these."""
        leaves = {leaf for found in self.layers.values() for leaf in found}
        wide = any(found["lora_A.weight"].shape[2:] > (1, 1) for found in self.layers.values() if "lora_A.weight" in found)
        if "dora_scale" in leaves:
            return "dora"
        if "hada_w1_a" in leaves:
            return "loha"
        if any(leaf.startswith("lokr") for leaf in leaves):
            return "lokr"
        return "locon" if wide or "diff" in leaves else "lora"


def _is_idle(leaves: Mapping[str, Tensor]) -> bool:
    added = [leaves[leaf] for leaf in ("diff", "diff_b") if leaf in leaves]
    factors = [tensor for leaf, tensor in leaves.items() if leaf not in ("diff", "diff_b", "dora_scale")]
    multiplied = bool(factors) and all(tensor.any() for tensor in factors)
    return not ("dora_scale" in leaves or multiplied or any(tensor.any() for tensor in added))


def read_lora(path: Path, shapes: Mapping[str, torch.Size], config: Path | None = None) -> LoraFile:
    """Read a safetensors file for a model whose layers have these weights; `config` is PEFT's own, from beside the file.

    Raises InputError when the file is damaged, for another family, or holds nothing for this model.
    """
    tensors, metadata = _opened(path)
    names, found, unknown = spellings(shapes), Layers(), list[str]()
    for name, tensor in tensors.items():
        match = LEAF.fullmatch(name)
        layer = names.get(plain(match["layer"])) if match else None
        if match is None or layer is None:
            unknown.append(name)
        else:
            found.setdefault(layer, {})[match["other"] or OURS[str(match.lastgroup)]] = tensor.float()
    found = {layer: leaves for layer, leaves in found.items() if leaves.keys() - {"alpha"}}
    if not found:
        raise _nothing_in(path.name, unknown)
    stated = PeftConfig.by_part(path.name, metadata.get("lora_adapter_metadata"), config)
    layers: Layers = {}
    for layer, leaves in found.items():
        try:
            layers[layer] = _complete(leaves, shapes[layer], stated_scale(layer, leaves, stated))
        except KeyError as error:
            message = f"{path.name} is incomplete: {layer} has no {error.args[0]}."
            raise InputError(message, field="file", remedy="Copy or download it again.") from None
        except (RuntimeError, IndexError):  # torch's, where shapes do not go together
            if layer == "unet.conv_in" and len(found) > 1:  # inpainting models take more channels there
                unknown.append(layer)
                continue
            message = f"what {path.name} holds for {layer} does not fit this model's {list(shapes[layer])}."
            raise InputError(message, field="file", remedy=ANOTHER) from None
        if not all(tensor.isfinite().all() for tensor in layers[layer].values()):
            message = f"{path.name} holds numbers for {layer} that are not finite."
            raise InputError(message, field="file", remedy="Choose another file, or save it again as fp32.")
    return LoraFile(layers, tuple(unknown))


def _nothing_in(name: str, unknown: Sequence[str]) -> InputError:
    """What a file is that changes no layer of the model."""
    which = f", such as {unknown[0][:100]}" if unknown else ""
    if not unknown or any((match := LEAF.fullmatch(tensor)) and match["other"] != "alpha" for tensor in unknown):
        return InputError(f"{name} holds nothing for a layer of this model{which}.", field="file", remedy=ANOTHER)
    for mark, kind in OTHER_KINDS.items():
        if any(mark in tensor for tensor in unknown):
            return InputError(f"{name} holds {kind}{which}.", field="file", remedy="Read are LoRA, LoCon, LoHa, LoKr and DoRA.")
    return InputError(f"{name} holds no LoRA, but tensors{which}.", field="file", remedy=OTHERS)


def _opened(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError):
        message = f"{path.name} cannot be read as safetensors: it is damaged, cut off, or of another kind."
        remedy = "Choose a .safetensors file; old .pt and .ckpt files can carry code and are not opened."
        raise InputError(message, field="file", remedy=remedy) from None


def _complete(leaves: Leaves, shape: torch.Size, scale: float) -> dict[str, Tensor]:
    """A layer's tensors with scale and middles multiplied in; KeyError or RuntimeError where they are no change of it."""
    folded = _folded(leaves)
    folded |= {leaf: folded[leaf] * scale for leaf in SCALED if leaf in folded}
    if "lora_A.weight" in folded:  # a linear layer's may be written as a 1x1 convolution's, and the other way round
        rank = rank_of(folded)
        folded["lora_A.weight"] = folded["lora_A.weight"].reshape(rank, *shape[1:])
        folded["lora_B.weight"] = folded["lora_B.weight"].reshape(shape[0], rank, *(1 for _ in shape[2:]))
    if "dora_scale" in folded:
        folded["dora_scale"] = _magnitude(folded["dora_scale"], shape)
    if (vector := folded.pop("lora_magnitude_vector", None)) is not None:  # PEFT's runs along outputs in every shape it has
        folded["dora_scale"] = vector.reshape(shape[0], *(1 for _ in shape[1:]))
    if "diff_b" in folded and len(folded) == 1:
        folded["diff"] = torch.zeros(shape)
    if not fits(folded, shape):
        raise RuntimeError
    return {leaf: tensor.contiguous() for leaf, tensor in folded.items()}


def _folded(leaves: Leaves) -> dict[str, Tensor]:
    """The leaves without alpha and without Tucker's middle matrices, which are multiplied into their neighbours."""
    folded = dict(leaves)
    folded.pop("alpha", None)
    if (middle := folded.pop("lora_mid", None)) is not None:
        folded["lora_A.weight"] = torch.einsum("pqhw,qi->pihw", middle, folded["lora_A.weight"].flatten(1))
    for pair, name in TUCKER:
        if (middle := folded.pop(name, None)) is not None:
            folded[f"{pair}_a"] = folded[f"{pair}_a"].T
            folded[f"{pair}_b"] = torch.einsum("pqhw,qi->pihw", middle, folded[f"{pair}_b"]).flatten(1)
    return folded


def _magnitude(tensor: Tensor, shape: torch.Size) -> Tensor:
    """LyCORIS' magnitude, along the weight's inputs [1, in, ...] or its outputs [out, 1, ...]."""
    axis = 0 if tensor.dim() == 1 or tensor.shape[0] == shape[0] else 1
    return tensor.reshape([size if number == axis else 1 for number, size in enumerate(shape)])
