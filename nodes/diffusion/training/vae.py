"""The loss that trains a VAE (Kingma and Welling 2014; Rombach et al. 2022, appendix G, without its discriminator)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.models.latent_space import LatentSpace
from nodes.diffusion.randomness import generator_for

EXACT = 1e-10
"""Squared error below which a picture counts as returned."""
MEASURED = 256
"""Pictures at most, chosen at random, from which the deviation of the latents is taken."""


@dataclass
class VAETask:
    """What reconstruction costs: mean absolute and squared error, error of edges, and distance from the prior."""

    space: LatentSpace
    settings: TrainingSettings
    pictures: Sequence[Callable[[], Tensor]]
    """Each reads one picture [3, h, w] in -1..1."""
    training: Sequence[int]
    crop: int
    """Side of the random squares that are shown, in pixels; 0 shows whole pictures."""
    edge_weight: float
    kl_weight: float

    def loss(self, step: int, micro_step: int) -> Tensor:
        generator = generator_for(self.settings.seed, "pictures", step * self.settings.gradient_accumulation_steps + micro_step)
        chosen = torch.randint(len(self.training), (self.settings.batch_size,), generator=generator).tolist()
        shown = torch.stack([self._cut(self.pictures[self.training[number]](), generator) for number in chosen])
        shown = shown.to(self.space.vae.device)
        posterior = self._posterior(shown)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        drawn = self.space.decoded(mean + torch.exp(0.5 * logvar) * noise).float()
        error = drawn - shown
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        return error.abs().mean() + 2 * error.square().mean() + self.edge_weight * _edges(error) + self.kl_weight * kl

    def psnr(self, index: int) -> float:
        """Return how well one picture comes back from its mean latents, in dB."""
        shown = self.pictures[index]()[None].to(self.space.vae.device)
        with torch.no_grad():
            drawn = self.space.decoded(self._posterior(shown).mean).float().clamp(-1, 1)
        return -10 * math.log10(max(float((drawn - shown).square().mean()), EXACT) / 4)

    def latent_deviation(self) -> float:
        """Return the standard deviation of the mean latents of training pictures."""
        order = torch.randperm(len(self.training), generator=generator_for(self.settings.seed, "deviation"))[:MEASURED].tolist()
        with torch.no_grad():
            shown = (self.pictures[self.training[number]]()[None].to(self.space.vae.device) for number in order)
            latents = [self._posterior(picture).mean.float().flatten() for picture in shown]
        return float(torch.cat(latents).std())

    def _posterior(self, shown: Tensor) -> DiagonalGaussianDistribution:
        return DiagonalGaussianDistribution(self.space.moments(shown))

    def _cut(self, picture: Tensor, generator: torch.Generator) -> Tensor:
        if not self.crop:
            return picture
        top, left = (int(torch.randint(max(0, side - self.crop) + 1, (1,), generator=generator)) for side in picture.shape[1:])
        return picture[:, top : top + self.crop, left : left + self.crop]


def _edges(error: Tensor) -> Tensor:
    """Return the mean error of the differences between neighbouring pixels."""
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def with_unit_latents(tensors: Mapping[str, Tensor], channels: int, factor: float) -> dict[str, Tensor]:
    """Return a VAE's tensors such that its latents are `factor` times as large and decode to the same pictures.

    The layers on both sides of the latents are linear: the last of the encoder, whose first half of channels is the mean and
    whose second the log of the variance, and the first of the decoder.
    """
    last = "quant_conv" if "quant_conv.weight" in tensors else "encoder.conv_out"
    first = "post_quant_conv" if "post_quant_conv.weight" in tensors else "decoder.conv_in"
    weight, bias = tensors[f"{last}.weight"].clone(), tensors[f"{last}.bias"].clone()
    weight[:channels] *= factor
    bias[:channels] *= factor
    bias[channels:] += 2 * math.log(factor)
    return {**tensors, f"{last}.weight": weight, f"{last}.bias": bias, f"{first}.weight": tensors[f"{first}.weight"] / factor}


def decoder_only(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return those of `vae.NAME` that come after the latents."""
    return {name: p for name, p in parameters.items() if name.startswith(("vae.decoder.", "vae.post_quant_conv."))}
