"""What a LoRA file says its products are multiplied by: alpha beside the tensors, or PEFT's configuration."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, field_validator

from nodes.diffusion.adapters import ENCODERS
from nodes.diffusion.errors import InputError
from nodes.diffusion.lora_deltas import Leaves, rank_of
from nodes.diffusion.opening import read_regular

PARTS = {"unet": "unet", **ENCODERS}
"""Our names of the parts by diffusers' own."""


class PeftConfig(BaseModel):
    """What is read of PEFT's LoraConfig, LoHaConfig and LoKrConfig."""

    alpha: float | None = Field(default=None, validation_alias=AliasChoices("lora_alpha", "alpha"))
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    r: float | None = None
    rank_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False

    @classmethod
    def by_part(cls, name: str, metadata: str | None, config: Path | None) -> dict[str, "PeftConfig"]:
        """Return the configurations in a file's metadata, by our names of parts; else the one beside the file, for all."""
        try:
            if metadata:
                return {ours: cls.model_validate(_within(json.loads(metadata), part)) for part, ours in PARTS.items()}
            if config:
                return dict.fromkeys(PARTS.values(), cls.model_validate_json(read_regular(config)))
        except (ValueError, RecursionError):
            message = f"the LoRA configuration of {name} cannot be read."
            raise InputError(message, field="file", remedy="Save it again with diffusers or PEFT.") from None
        return {}

    @field_validator("alpha_pattern", "rank_pattern")
    @classmethod
    def _compiled(cls, patterns: dict[str, float]) -> dict[str, float]:
        try:
            for pattern in patterns:
                re.compile(pattern)
        except re.error as error:
            raise ValueError from error
        return patterns

    def scale(self, layer: str, rank: float) -> float:
        """Return what a layer's product of this rank, 0 for whole factors, is multiplied by."""
        rank = rank or _matching(self.rank_pattern, layer, self.r) or 1
        alpha = _matching(self.alpha_pattern, layer, self.alpha)
        return (rank if alpha is None else alpha) / (rank**0.5 if self.use_rslora else rank)


def _matching(patterns: Mapping[str, float], layer: str, default: float | None) -> float | None:
    """The value of the first pattern that matches a layer's name or the end of it, as PEFT matches them."""
    names = (layer, f"text_model.{layer}")  # layers of text encoders are named without it here
    found = (value for pattern, value in patterns.items() if any(re.fullmatch(rf"(.*\.)?({pattern})", name) for name in names))
    return next(found, default)


def _within(settings: object, part: str) -> dict[str, object]:
    if not isinstance(settings, Mapping):
        raise ValueError("not an object")
    return {str(key).removeprefix(f"{part}."): value for key, value in settings.items() if str(key).startswith(f"{part}.")}


def stated_scale(layer: str, leaves: Leaves, configs: Mapping[str, PeftConfig]) -> float:
    """Return what a layer's product is multiplied by: alpha / rank, with alpha = rank where nothing is said.

    An alpha beside whole factors means nothing (LyCORIS); a configuration of PEFT holds for them too.
    """
    rank = rank_of(leaves)
    if "alpha" in leaves:
        return float(leaves["alpha"].reshape(())) / rank if rank else 1.0
    part, _, name = layer.partition(".")
    return configs.get(part, PeftConfig()).scale(name, rank)
