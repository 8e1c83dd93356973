"""A model in use: shared parts, the handle, and what is applied to them for as long as the use lasts."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from nodes.diffusion.devices import Precision
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.handles.models import DiffusionModel, ModelInfo
from nodes.diffusion.models.extra_unet_channels import fill_channels
from nodes.diffusion.models.loading import naming_part
from nodes.diffusion.models.parts import ModelParts
from nodes.diffusion.models.tokenizers import Tokenizer


class ActiveModel:
    """Parts, handle and everything that changes while a model is used; made by `model_in_use` for one `with` block.

    Placeholders, aesthetic and training step belong to this object, so two uses of the same parts do not see each other's.
    Adapters patch the modules themselves, which all uses of the same parts share: while one use has adapters applied, another
    is refused. Runs use one model after the other.
    """

    def __init__(self, handle: DiffusionModel, parts: ModelParts) -> None:
        self.handle = handle
        self.parts = parts
        self.applied: Sequence[dict[str, nn.Parameter]] = ()
        """The tensors of each of the handle's adapters, by name."""
        self.placeholders: dict[str, list[Tensor]] = {}
        """Placeholders that prompts may use, and their vectors [k, d] for each text encoder."""
        self.aesthetic: Any = None
        """The aesthetic that positive prompts are tuned to; None without one."""
        self.training_step: tuple[int, int] | None = None
        """Step and micro step of a training that is going on, for layers that draw random numbers."""
        self._held: dict[str, Any] = {}

    @property
    def info(self) -> ModelInfo:
        return self.parts.info

    @property
    def device(self) -> torch.device:
        return self.parts.device

    @property
    def precision(self) -> Precision:
        return self.parts.precision

    @property
    def dtype(self) -> torch.dtype:
        return self.parts.dtype

    def part(self, name: str) -> Any:
        """Return one part, which then stays in memory until the use ends."""
        return self._keep(name, lambda: self.parts.part(name))

    def kept(self, name: str, make: Callable[[], nn.Module]) -> Any:
        """Return a module that is no part of the family's models; it is made if it is not in memory, and stays as parts do."""
        return self._keep(name, lambda: self.parts.kept(name, make))

    def _keep(self, name: str, find: Callable[[], Any]) -> Any:
        if name not in self._held:
            self._held[name] = find()
            self.parts.residency.hold(self.parts.key(name))
        return self._held[name]

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """Takes noisy latents alone, whatever channels more it was built for: see `fill_channels`."""
        unet = self.part("unet")
        self._filling = fill_channels(unet, self.info.purpose, lambda: self.vae)
        return unet

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer; it is the part `unet` in names of tensors, whatever it is."""
        return self.unet

    @property
    def vae(self) -> AutoencoderKL:
        return self.part("vae")

    @property
    def text_encoders(self) -> list[nn.Module]:
        return [self.part(name) for name in self.parts.names("text_encoder")]

    @property
    def tokenizers(self) -> list[Tokenizer]:
        return [self.part(name) for name in self.parts.names("tokenizer")]

    @cached_property
    def noise_scheduler(self) -> DDPMScheduler:
        """The forward process of the model's training (DDPM, Ho et al. 2020), with its prediction type."""
        with naming_part("scheduler"):
            scheduler: Any = DDPMScheduler.from_config(self.scheduler_config)
        return scheduler

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The scheduler's settings as the folder states them, with what the model is taken to predict."""
        stated = read_config(self.parts.folder_of("scheduler") / "scheduler_config.json")
        return {**stated, "prediction_type": self.info.prediction_type}

    def let_go(self, names: Sequence[str]) -> None:
        """Let parts be evicted that the use needs no more for now; adapters must not be applied to them."""
        for name in names:
            if self._held.pop(name, None) is not None:
                self.parts.residency.release(self.parts.key(name))

    def release(self) -> None:
        """End the use: parts may be evicted, and the UNet takes all of its channels again."""
        if vars(self).pop("unet", None) is not None and self._filling:
            self._filling.remove()
        for name in self._held:
            self.parts.residency.release(self.parts.key(name))
        self._held.clear()


@contextmanager
def held(model: ActiveModel) -> Generator[ActiveModel]:
    """Keep the parts that a use asks for in memory until it ends."""
    try:
        yield model
    finally:
        model.release()
