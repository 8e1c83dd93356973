"""What a LoRA file says its products are multiplied by: alpha beside the tensors, or PEFT's configuration."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from nodes.diffusion.adapters import ENCODERS
from nodes.diffusion.errors import InputError
from nodes.diffusion.lora_deltas import Leaves, rank_of

PARTS = {"unet": "unet", **ENCODERS}
"""Our names of the parts by diffusers' own."""


class PeftConfig(BaseModel):
    """What is read of PEFT's LoraConfig."""

    lora_alpha: float | None = None
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False

    @classmethod
    def by_part(cls, name: str, metadata: str | None, config: Path | None) -> dict[str, "PeftConfig"]:
        """Return the configurations in a file's metadata, by our names of parts; else the one beside the file, for all."""
        try:
            if metadata:
                return {ours: cls.model_validate(_within(json.loads(metadata), part)) for part, ours in PARTS.items()}
            if config:
                return dict.fromkeys(PARTS.values(), cls.model_validate_json(config.read_bytes()))
        except (ValueError, RecursionError, ValidationError):
            message = f"the LoRA configuration of {name} cannot be read."
            raise InputError(message, field="file", remedy="Save it again with diffusers or PEFT.") from None
        return {}

    def alpha(self, layer: str) -> float | None:
        """Return the alpha of a layer; patterns are the ends of names."""
        for pattern, alpha in self.alpha_pattern.items():
            if f".{layer}".endswith(f".{pattern.removeprefix('text_model.')}"):
                return alpha
        return self.lora_alpha


def _within(settings: object, part: str) -> dict[str, object]:
    if not isinstance(settings, Mapping):
        raise ValueError("not an object")
    return {str(key).removeprefix(f"{part}."): value for key, value in settings.items() if str(key).startswith(f"{part}.")}


def stated_scale(layer: str, leaves: Leaves, configs: Mapping[str, PeftConfig]) -> float:
    """Return what a layer's product is multiplied by: alpha / rank, with alpha = rank where nothing is said."""
    rank = rank_of(leaves)
    if not rank:
        return 1.0
    if "alpha" in leaves:
        return float(leaves["alpha"].reshape(())) / rank
    part, _, name = layer.partition(".")
    config = configs.get(part, PeftConfig())
    alpha = config.alpha(name)
    return (rank if alpha is None else alpha) / (rank**0.5 if config.use_rslora else rank)
