"""Scales of the products in a LoRA file: alpha beside the tensors, or PEFT's configuration."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, PrivateAttr
from torch import Tensor

from nodes.diffusion.adapters.lora.algorithms import Leaves, rank_of
from nodes.diffusion.adapters.lora.name_patterns import TooMuchWork, Work, is_plain, name_pattern
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.opening import read_regular
from nodes.diffusion.handles.adapters import ENCODERS

MOST_PATTERNS = 4096
MOST_WILD = 500
"""Most characters of all patterns that are no plain names."""
REMEDY = "Save it with alpha beside its tensors (kohya), or with names of layers as patterns."


class PeftConfig(BaseModel):
    """The fields of PEFT's LoraConfig, LoHaConfig and LoKrConfig that are needed."""

    alpha: float | None = Field(default=None, validation_alias=AliasChoices("lora_alpha", "alpha"))
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    r: float | None = None
    rank_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False
    _work: Work = PrivateAttr(default_factory=Work)

    @classmethod
    def by_part(cls, name: str, metadata: str | None, config: Path | None, denoiser: str) -> dict[str, "PeftConfig"]:
        """Return the configurations in a file's metadata, by our names of parts; else the one beside the file, for all.

        `denoiser` is the folder of the family's denoiser, which diffusers names it by.
        """
        try:
            found = cls._by_part(metadata, config, {denoiser: "unet", **ENCODERS})
        except (ValueError, RecursionError):
            message = f"the LoRA configuration of {name} cannot be read."
            raise InputError(message, field="file", remedy="Save it again with diffusers or PEFT.") from None
        work = Work()
        for settings in found.values():
            settings._work = work
        return {part: settings.checked() for part, settings in found.items()}

    @classmethod
    def _by_part(cls, metadata: str | None, config: Path | None, parts: Mapping[str, str]) -> dict[str, "PeftConfig"]:
        if metadata:
            return {ours: cls.model_validate(_within(json.loads(metadata), part)) for part, ours in parts.items()}
        return dict.fromkeys(parts.values(), cls.model_validate_json(read_regular(config))) if config else {}

    def checked(self) -> "PeftConfig":
        """Return the configuration; raise InputError for patterns that take too long to match."""
        for patterns in (self.alpha_pattern, self.rank_pattern):
            if len(patterns) > MOST_PATTERNS or sum(len(pattern) for pattern in patterns if not is_plain(pattern)) > MOST_WILD:
                message = f"the LoRA's configuration holds {len(patterns)} patterns of names, too many or too long ones."
                raise InputError(message, field="file", remedy=REMEDY)
            for pattern in patterns:
                try:
                    name_pattern(pattern)
                except ValueError:
                    message = f"the LoRA's configuration holds {pattern[:80]!r}, which is no pattern of names that is known."
                    raise InputError(message, field="file", remedy=REMEDY) from None
        return self

    def scale(self, layer: str, rank: float) -> float:
        """Return the scale of a layer's product of this rank (0 for whole factors)."""
        rank = rank or self._matching(self.rank_pattern, layer, self.r) or 1
        alpha = self._matching(self.alpha_pattern, layer, self.alpha)
        return (rank if alpha is None else alpha) / (rank**0.5 if self.use_rslora else rank)

    def _matching(self, patterns: Mapping[str, float], layer: str, default: float | None) -> float | None:
        """Return the value of the first pattern that matches a layer's name or its end, as in PEFT."""
        names = (layer, f"text_model.{layer}")  # layers of text encoders are named without it here
        try:
            for pattern, value in patterns.items():
                if any(name_pattern(pattern)(name, self._work) for name in names):
                    return value
            return default
        except TooMuchWork:
            message = "the patterns of names in the LoRA's configuration take too long to match."
            raise InputError(message, field="file", remedy=REMEDY) from None


def _within(settings: object, part: str) -> dict[str, object]:
    if not isinstance(settings, Mapping):
        raise ValueError("not an object")
    return {str(key).removeprefix(f"{part}."): value for key, value in settings.items() if str(key).startswith(f"{part}.")}


def stated_scale(layer: str, leaves: Leaves, alpha: Tensor | None, configs: Mapping[str, PeftConfig]) -> float:
    """Return the scale of a layer's product: alpha / rank, by default with alpha = rank.

    An alpha beside whole factors has no meaning (LyCORIS); a configuration of PEFT applies to them too.
    """
    rank = rank_of(leaves)
    if alpha is not None:
        return float(alpha.reshape(())) / rank if rank else 1.0
    part, _, name = layer.partition(".")
    return configs.get(part, PeftConfig()).scale(name, rank)
